"""nuScenes' point labels, boxes and maps, and their judges. Pretraining never imports this folder."""
