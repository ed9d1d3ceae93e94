"""Lists of data sets: ids, files, standard input, and what is none of these."""

import io

import pytest

from atldld.batch import find_ids, read_ids
from atldld.errors import InvalidInputError, NotFoundError
from atldld.testing.sources import FIRST


def test_arguments_files_and_standard_input_are_read_in_order(tmp_path):
    path = tmp_path / "list.txt"
    path.write_bytes(b"\xef\xbb\xbf12 # the first\r\n\r\n# nothing\r\n13\r\n")
    listed = read_ids(["11", str(path), "-"], io.BytesIO(b"14\n"))
    assert listed.ids == (11, 12, 13, 14)
    assert listed.rubbish == ()


def test_what_is_named_twice_is_meant_once():
    listed = read_ids(["5", "-"], io.BytesIO(b"7\n5\n7\n"))
    assert listed.ids == (5, 7)
    assert listed.repeated == 2


def test_rubbish_is_named_with_its_line(tmp_path):
    path = tmp_path / "list.txt"
    path.write_bytes(b"1\nGad1\n\n2\n-3\n4 5\n" + b"x" * 500 + b"\n\xff\xfe\n0\n")
    listed = read_ids([str(path)])
    assert listed.ids == (1, 2)
    assert [sentence.split(":")[0] for sentence in listed.rubbish] == [
        f"list.txt, line {number}" for number in (2, 5, 6, 7, 8, 9)
    ]
    assert "'Gad1'" in listed.rubbish[0]
    assert max(map(len, listed.rubbish)) < 120


@pytest.mark.parametrize("content", [b"", b"# nothing\n\n"])
def test_an_empty_list_says_so(content):
    with pytest.raises(InvalidInputError, match="holds no id"):
        read_ids(["-"], io.BytesIO(content))


def test_a_list_of_nothing_but_rubbish_shows_some():
    with pytest.raises(InvalidInputError, match=r"only 2 lines.*line 1: 'Gad1'"):
        read_ids(["-"], io.BytesIO(b"Gad1\nGad2\n"))


@pytest.mark.parametrize("source", ["Gad1", "0", "no/such/file", "-5"])
def test_what_is_neither_an_id_nor_a_file_is_refused(source):
    with pytest.raises(InvalidInputError):
        read_ids([source])


def test_a_folder_is_no_list(tmp_path):
    with pytest.raises(InvalidInputError, match="cannot be read"):
        read_ids([str(tmp_path)])


def test_a_gene_gives_its_data_sets(session):
    assert find_ids(session, gene="Demo").ids == tuple(FIRST + k for k in range(8))
    with pytest.raises(NotFoundError, match="sagittal"):
        find_ids(session, gene="Demo", plane="sagittal")
