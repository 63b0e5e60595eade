"""lidardistill: pretrain LiDAR backbones from cameras, without labels."""

__version__ = "0.1.0"
