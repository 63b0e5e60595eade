# The same detector as centerpoint_voxel01.py with our VoxelNet for its SparseEncoder: it trains on a CPU too.
_base_ = "mmdet3d::centerpoint/centerpoint_voxel01_second_secfpn_8xb4-cyclic-20e_nus-3d.py"
custom_imports = dict(imports=["lidardistill.plugins.mmdet3d"], allow_failed_imports=False)

load_from = "{{$WEIGHTS:work_dirs/lidardistill.pth}}"
model = dict(
    pts_middle_encoder=dict(
        _delete_=True,
        type="LidardistillVoxelNet",
        in_channels=5,
        sparse_shape=(41, 1024, 1024),
    )
)
