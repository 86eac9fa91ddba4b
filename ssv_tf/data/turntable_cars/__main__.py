"""Contact sheet of the rendered cars: `python -m ssv_tf.data.turntable_cars --out=sheet.png`."""

from ssv_tf.data.turntable_cars import sheet

if __name__ == "__main__":
    sheet.run()
