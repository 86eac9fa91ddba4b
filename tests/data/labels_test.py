"""Tables of angles: what is read, what is left out, and how each mistake is named."""

import numpy as np
import pytest
from absl import logging as absl_logging
from hypothesis import given
from hypothesis import strategies as st

from ssv_tf.base.errors import SettingError, UserError
from ssv_tf.data import forms, labels

HEADER = "filename,azimuth_deg,elevation_deg,tilt_deg"


def table(tmp_path, *rows, header=HEADER, encoding="utf-8"):
    path = tmp_path / "labels.csv"
    path.write_bytes("\n".join([header, *rows, ""]).encode(encoding))
    return path


def test_reads_angles_and_wraps_azimuth(tmp_path):
    path = table(tmp_path, "a.jpg,324.5,2.5,-1", "b/c.jpg,-180,-90,180", "./d.jpg,360,90,-180")
    read = labels.read_labels(path)
    assert list(read) == ["a.jpg", "b/c.jpg", "d.jpg"]
    np.testing.assert_allclose(read["a.jpg"], [-35.5, 2.5, -1])
    np.testing.assert_allclose(read["b/c.jpg"], [180, -90, 180])
    np.testing.assert_allclose(read["d.jpg"], [0, 90, -180])
    assert read["a.jpg"].dtype == np.float32


@given(st.floats(-360, 360))
def test_wrapped_azimuth_is_the_same_direction(azimuth):
    row = labels._Row(
        "", "a", {"azimuth_deg": repr(azimuth), "elevation_deg": "0", "tilt_deg": "0"}
    )
    wrapped = float(labels._angles(row)[0])
    assert -180 <= wrapped <= 180
    assert np.cos(np.radians(wrapped - azimuth)) == pytest.approx(1, abs=1e-6)


def test_order_of_columns_spaces_quotes_and_byte_order_mark_do_not_matter(tmp_path):
    header = '\ufefftilt_deg,"filename", elevation_deg ,note,azimuth_deg'
    path = table(tmp_path, '3,"x, y.jpg",2,"two\nlines", 1', header=header)
    np.testing.assert_allclose(labels.read_labels(path)["x, y.jpg"], [1, 2, 3])


def test_windows_line_ends_and_paths(tmp_path):
    path = table(tmp_path, "sub\\a.jpg,1,2,3\r", header=HEADER + "\r")
    assert list(labels.read_labels(path)) == ["sub/a.jpg"]


def test_suspect_and_unlabelled_rows_are_left_out_and_counted(tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr(absl_logging, "info", lambda text, *args: lines.append(text % args))
    header = HEADER + ",suspect"
    rows = ["a,1,2,3,0", "b,1,2,3,1", "c,1,,3,0", "d,1,2,3,", "e, ,2,3,0", "f,broken,2,3,1", "g,1"]
    path = table(tmp_path, *rows, header=header)
    read = labels.read_labels(path)
    assert sorted(read) == ["a", "c", "d", "e", "g"]
    np.testing.assert_array_equal(read["c"], [1, np.nan, 3])
    np.testing.assert_array_equal(read["e"], [np.nan, 2, 3])
    np.testing.assert_array_equal(read["g"], [1, np.nan, np.nan])
    assert len(lines) == 2 and "left out 2 rows" in lines[0]
    assert "known of 5 rows: azimuth 4, elevation 3, tilt 4" in lines[1]


def test_columns_of_angles_may_be_missing_but_not_all_nor_misspelt(tmp_path):
    read = labels.read_labels(table(tmp_path, "a,-7,x", "b,5,x", header="filename,tilt_deg,y"))
    np.testing.assert_array_equal(read["b"], [np.nan, np.nan, 5])
    with pytest.raises(UserError, match="no column azimuth_deg or elevation_deg or tilt_deg"):
        labels.read_labels(table(tmp_path, "a,1", header="filename,yaw"))
    for name in ("azimuth", "Azimuth (deg)", "azimuth_rad", "AZIMUTH_DEG", "azimuth [\u00b0]"):
        with pytest.raises(UserError, match="line 1: no column azimuth_deg; the columns are"):
            labels.read_labels(table(tmp_path, "a,1,2", header=f"filename,{name},tilt_deg"))
    read = labels.read_labels(table(tmp_path, "a,1,2", header="filename,azimuth_bin,tilt_deg"))
    np.testing.assert_array_equal(read["a"], [np.nan, np.nan, 2])


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("b.jpg,east,0,0", ["line 3", "azimuth_deg", "'east'"]),
        ("b.jpg,0,nan,0", ["line 3", "elevation_deg", "'nan'"]),
        ("b.jpg,0,0,-inf", ["line 3", "tilt_deg", "'-inf'"]),
        ("b.jpg,361,0,0", ["line 3", "azimuth_deg", "361", "-360 to 360"]),
        ("b.jpg,0,90.1,0", ["line 3", "elevation_deg", "90.1", "-90 to 90"]),
        ("b.jpg,0,0,-181", ["line 3", "tilt_deg", "-181", "-180 to 180"]),
        ("a.jpg,0,0,0", ["line 3", "a.jpg", "line 2"]),
        ("./a.jpg,0,0,0", ["line 3", "a.jpg", "line 2"]),
        (",0,0,0", ["line 3", "filename"]),
        ("b.jpg,0,0,0,5", ["line 3", "more cells"]),
        ('b.jpg,"0,0,0', ["line", "unexpected end"]),
    ],
)
def test_mistakes_are_named_with_file_line_and_column(tmp_path, row, words):
    path = table(tmp_path, "a.jpg,0,0,0", row)
    with pytest.raises(UserError) as caught:
        labels.read_labels(path)
    for word in [str(path), *words]:
        assert word in str(caught.value)
    assert caught.value.exit_code == 1


def test_a_suspect_cell_must_be_0_or_1(tmp_path):
    with pytest.raises(UserError, match="line 2: column suspect holds 'maybe'"):
        labels.read_labels(table(tmp_path, "a,0,0,0,maybe", header=HEADER + ",suspect"))


def test_missing_file_columns_and_encoding(tmp_path):
    with pytest.raises(UserError, match=r"none\.csv: no such file"):
        labels.read_labels(tmp_path / "none.csv")
    with pytest.raises(UserError, match="cannot read"):
        labels.read_labels(tmp_path)
    with pytest.raises(UserError, match="no column filename; the columns are file,"):
        labels.read_labels(table(tmp_path, header="file,azimuth_deg,roll"))
    with pytest.raises(UserError, match="the file is empty"):
        labels.read_labels(table(tmp_path, header=""))
    with pytest.raises(UserError, match="line 3: not UTF-8"):
        labels.read_labels(table(tmp_path, "a,0,0,0", "caf\u00e9,0,0,0", encoding="latin-1"))


# Other forms


def read_as(tmp_path, rows, header=HEADER, columns="", convention="", tolerance=None):
    form = forms.parse(columns, convention, tolerance)
    return labels.read_table(table(tmp_path, *rows, header=header), form=form)


def test_classes_in_words_are_azimuths_and_bring_their_tolerance(tmp_path):
    eight = [
        "front",
        "Front_Left",
        "left",
        "rear-left",
        " BACK ",
        "back right",
        "right",
        "rightfront",
    ]
    read = read_as(tmp_path, [f"{i},{word},," for i, word in enumerate(eight)])
    azimuths = [row[0] for row in read.angles_deg.values()]
    assert azimuths == [0, 45, 90, 135, 180, -135, -90, -45] and read.tolerance_deg == 22.5
    assert np.isnan(np.array(list(read.angles_deg.values()))[:, 1:]).all()
    four = ["a,front,,", "b,left,,", "c,rear,,", "d,right,,"]
    assert read_as(tmp_path, four).tolerance_deg == 45
    assert read_as(tmp_path, four, tolerance=30.0).tolerance_deg == 30
    assert read_as(tmp_path, ["a,0,,", "b,45,,"]).tolerance_deg == 0
    # a word says what is seen: of the conventions only the side of the nose touches it
    turned = read_as(tmp_path, four, convention="nose_right,zero_rear,radians").angles_deg
    assert [row[0] for row in turned.values()] == [0, -90, 180, 90]
    for word in ("side", "frontal", "front_rear", "left_left"):
        with pytest.raises(UserError, match=r"line 2: column azimuth_deg .* nor a class such as"):
            read_as(tmp_path, [f"a,{word},,"])


@pytest.mark.parametrize(
    ("convention", "given", "wanted"),
    [
        ("nose_right", (30, 10, 5), (-30, 10, 5)),
        ("zero_left", (30, 10, 5), (120, 10, 5)),
        ("zero_right", (30, 10, 5), (-60, 10, 5)),
        ("Zero_Rear, nose_right", (30, 10, 5), (150, 10, 5)),
        ("camera_below,tilt_counterclockwise", (30, 10, 5), (30, -10, -5)),
        ("from_zenith", (30, 80, 5), (30, 10, 5)),
        ("from_zenith", (30, 170, 5), (30, -80, 5)),
        ("radians,nose_right,zero_left", (np.pi / 6, 0.1, -0.1), (60, 5.7296, -5.7296)),
        ("radians", (6.2832, 1.5708, 3.1416), (0, 90, 180)),
    ],
)
def test_conventions_turn_a_table_into_the_projects(tmp_path, convention, given, wanted):
    read = read_as(tmp_path, ["a," + ",".join(map(repr, map(float, given)))], convention=convention)
    np.testing.assert_allclose(read.angles_deg["a"], wanted, atol=1e-3)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"convention": "clockwise"}, "whether the nose turns to image left"),
        ({"convention": "degres"}, "no word 'degres'; it takes radians"),
        ({"convention": "zero_left,zero_rear"}, "says both zero_left and zero_rear"),
        ({"columns": "yaw"}, "cannot read yaw="),
        ({"columns": "yaw=azimuth"}, "it takes file, azimuth"),
        ({"columns": "azimuth=yaw,azimuth_deg=pan"}, "beside another"),
        ({"columns": "azimuth=yaw,tilt=yaw"}, "beside another"),
        ({"tolerance_deg": -1.0}, "from 0 to below 180"),
        ({"tolerance_deg": float("nan")}, "from 0 to below 180"),
    ],
)
def test_forms_that_cannot_be_read_are_setting_errors(words, said):
    with pytest.raises(SettingError, match=said):
        forms.parse(**words)


def test_columns_of_other_names(tmp_path):
    header, rows = "image,yaw,pitch,suspect", ["a,10,3,0", "b,20,,0", "c,,,0", "d,1,1,1"]
    read = read_as(tmp_path, rows, header, "azimuth=yaw, file=image,elevation_deg=pitch")
    assert list(read.angles_deg) == ["a", "b"]
    np.testing.assert_array_equal(read.angles_deg["a"], [10, 3, np.nan])
    chosen = labels.select_filenames(
        tmp_path / "labels.csv", "yaw==20", form=forms.parse("file=image")
    )
    assert chosen == {"b"}
    with pytest.raises(UserError, match="no column roll; the columns are image"):
        read_as(tmp_path, rows, header, "azimuth=yaw,file=image,tilt=roll")
    with pytest.raises(UserError, match=r"no column filename.*tell which is which by `columns"):
        read_as(tmp_path, rows, header)
    with pytest.raises(UserError, match=r"column yaw holds '10 deg'"):
        read_as(tmp_path, ["a,10 deg,3,0"], header, "azimuth=yaw,file=image")
    with pytest.raises(UserError, match=r"holds 10 \(572\.958 degrees, as radians\), outside -360"):
        read_as(tmp_path, rows, header, "azimuth=yaw,file=image", "radians")


# Conditions

ROWS = ["a,10,0,0,1,Audi TTS,1", "b,20,,,4,BMW,0", "c,30,0,0,5,Audi TTS,0", "d,,,,9,x,0"]
CARS = HEADER + ",class_id,class_name,suspect"


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("class_id%4==1", "acd"),
        (" class_id % 4 != 1 ", "b"),
        ("class_id==5.0", "c"),
        ("class_id!=5", "abd"),
        ("class_name==Audi TTS", "ac"),
        ("class_name != Audi TTS", "bd"),
    ],
)
def test_conditions_choose_rows(tmp_path, where, expected):
    path = table(tmp_path, *ROWS, header=CARS)
    assert labels.select_filenames(path, where) == set(expected)
    assert set(labels.read_labels(path, where)) == set(expected) - set("ad")  # suspect, empty


def test_selecting_needs_no_angles(tmp_path):
    path = table(tmp_path, "a,1", "b,2", header="filename,class_id")
    assert labels.select_filenames(path, "class_id%2==1") == {"a"}


@pytest.mark.parametrize(
    "where",
    [
        *("", "class_id", "class_id=1", "class_id<3", "class_id%4", "class_id==", "==1"),
        *("class_id%0==0", "class_id%-4==1", "class_id%4==x", "class_id%4==4"),
        *("a==1==2", "__import__('os')"),
    ],
)
def test_other_expressions_are_flag_errors(where):
    with pytest.raises(SettingError, match="condition"):
        labels.parse_condition(where)


def test_condition_on_an_absent_column_or_a_word_names_the_place(tmp_path):
    path = table(tmp_path, *ROWS, header=CARS)
    with pytest.raises(UserError, match="no column klass; the columns are filename"):
        labels.select_filenames(path, "klass==1")
    with pytest.raises(UserError, match="line 2: column class_name holds 'Audi TTS', no whole"):
        labels.select_filenames(path, "class_name%2==1")


@given(st.integers(1, 50), st.integers(-1000, 1000), st.data())
def test_a_split_by_remainder_has_no_overlap_and_no_gap(modulus, cell, data):
    remainder = data.draw(st.integers(0, modulus - 1))
    inside = labels.parse_condition(f"n%{modulus}=={remainder}").holds(str(cell))
    outside = labels.parse_condition(f"n%{modulus}!={remainder}").holds(str(cell))
    assert inside != outside and inside == (cell % modulus == remainder)
