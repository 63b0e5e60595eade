# mmdet3d's MinkUNet on SemanticKITTI with our MinkUNet for its backbone and the voxels that SLidR pretrains it on.
# mmdet3d 1.4 has no data set for nuScenes-lidarseg.
_base_ = "mmdet3d::minkunet/minkunet34_w32_spconv_8xb2-laser-polar-mix-3x_semantickitti.py"
custom_imports = dict(imports=["lidardistill.plugins.mmdet3d"], allow_failed_imports=False)

model = dict(
    data_preprocessor=dict(
        _delete_=True,
        type="LidardistillVoxels",
        # `voxels` of the run's config.yaml; KITTI's intensity goes to 1 where nuScenes' goes to 255.
        voxels=dict(
            kind="cylindrical",
            voxel_size=(0.1, 1.0, 0.1),
            point_features=("intensity",),
            intensity_scale=255.0,
        ),
    ),
    backbone=dict(
        _delete_=True,
        type="LidardistillMinkUNet",
        in_channels=1,
        preset="minkunet34",
        weights="{{$WEIGHTS:work_dirs/lidardistill.safetensors}}",
    ),
)
