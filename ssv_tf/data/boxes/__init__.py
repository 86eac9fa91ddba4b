"""Boxes around objects as people have them: COCO, YOLO, Pascal VOC, CSV, masks and alpha."""
