"""nuScenes' point labels, boxes and maps, and their judges. Nothing that pretrains imports this folder."""
