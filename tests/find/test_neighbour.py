import pytest

from atldld.errors import DatasetNotFoundError
from atldld.find import FoundDataSet, Neighbour, neighbours

PROX1, PDYN, PAGE = 69289763, 71717084, 909


@pytest.mark.parametrize("source", ["service", "catalogue"])
def test_of_the_demo(session_of, source):
    own, others, _ = neighbours(PDYN, session=session_of(source))
    (other,) = others
    assert own.numbers is not None
    assert other.numbers is not None
    assert (own.data_set.id, len(own.numbers), own.step) == (PDYN, 112, 4)
    assert (other.data_set.id, len(other.numbers), other.step) == (PAGE, 14, 32)
    assert other.offset(own) == 0


def test_interleaved():
    own = Neighbour(FoundDataSet(id=1), (6, 14, 22, 30))
    other = Neighbour(FoundDataSet(id=2), (9, 17, 25, 33))
    unknown = Neighbour(FoundDataSet(id=3), None)
    assert (other.offset(own), own.offset(other), own.step) == (3, -3, 8)
    assert unknown.offset(own) is own.offset(unknown) is unknown.step is None


def test_real_ones(real):
    own, others, _ = neighbours(PDYN, session=real)
    assert own.data_set.specimen == "05-2716"
    assert {one.data_set.genes for one in others} == {(), ("Mest",), ("Pde3a",)}
    assert all(one.numbers is None for one in others)


def test_none(catalogued):
    assert neighbours(PROX1, session=catalogued)[1] == []
    with pytest.raises(DatasetNotFoundError, match="5"):
        neighbours(5, session=catalogued)
