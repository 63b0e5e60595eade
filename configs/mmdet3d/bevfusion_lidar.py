# BEVFusion's LiDAR detector with voxels of 0.075 m on nuScenes, from the weights of a student with the preset
# voxelnet0075, exported with --format mmdet3d-bevfusion. Its code is in no wheel: MMDETECTION3D names a checkout.
_base_ = [
    "{{$MMDETECTION3D:mmdetection3d}}/projects/BEVFusion/configs/"
    "bevfusion_lidar_voxel0075_second_secfpn_8xb4-cyclic-20e_nus-3d.py"
]

load_from = "{{$WEIGHTS:work_dirs/lidardistill.pth}}"
