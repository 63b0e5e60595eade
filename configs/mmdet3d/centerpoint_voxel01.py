# CenterPoint with voxels of 0.1 m on nuScenes, from the weights of a student with the preset voxelnet01.
_base_ = "mmdet3d::centerpoint/centerpoint_voxel01_second_secfpn_8xb4-cyclic-20e_nus-3d.py"

load_from = "{{$WEIGHTS:work_dirs/lidardistill.pth}}"
