# CenterPoint with pillars of 0.2 m on nuScenes, from the weights of a student with the preset pillars02.
_base_ = "mmdet3d::centerpoint/centerpoint_pillar02_second_secfpn_8xb4-cyclic-20e_nus-3d.py"

load_from = "{{$WEIGHTS:work_dirs/lidardistill.pth}}"
