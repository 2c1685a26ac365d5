import pytest

from mlst.exits import EXTRAS, Exit, MissingExtraError, UserError, missing_extra


def test_the_codes_that_scripts_rely_on() -> None:
    assert [(code.name, int(code)) for code in Exit] == [("DONE", 0), ("WRONG", 1), ("UNUSABLE", 2), ("PARTLY", 3)]


def test_an_extra_is_named_for_its_own_modules_alone() -> None:
    said = missing_extra(ModuleNotFoundError(name="yt_dlp.utils"))
    assert isinstance(said, UserError)
    assert "mlst[build]" in str(said)
    assert said.exit_code == Exit.UNUSABLE
    assert missing_extra(ModuleNotFoundError(name="mlst.typo")) is None
    assert missing_extra(ModuleNotFoundError("no name")) is None


def test_a_package_outside_the_table_of_extras_is_a_bug() -> None:
    assert "numpy" not in EXTRAS
    with pytest.raises(MissingExtraError):
        raise missing_extra(ModuleNotFoundError(name="ray")) or AssertionError
