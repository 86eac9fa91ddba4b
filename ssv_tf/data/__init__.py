"""Collections of pictures: embedded cars, folders, TFDS sets, and the pipeline that feeds them."""
