import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mlst.problems import problems


class _Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    length: int = Field(3, ge=2)
    width: int = 1


class _Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    scan: _Inner = _Inner()


@pytest.mark.parametrize(
    ("values", "table", "lines"),
    [
        ({}, "", ["name: missing"]),
        ({"name": "a", "scan": {"length": 1}}, "", ["scan.length = 1: Input should be greater than or equal to 2"]),
        (
            {"name": "a", "scan": {"widht": 7}},
            "",
            ["scan.widht = 7: unknown setting; choices are width, length"],
        ),
        ({"name": 3, "nam": 1}, "top", ["top.name = 3: ", "top.nam = 1: unknown setting; choices are name, scan"]),
    ],
)
def test_each_problem_is_a_line_with_setting_value_and_choices(
    values: dict[str, object], table: str, lines: list[str]
) -> None:
    with pytest.raises(ValidationError) as why:
        _Outer.model_validate(values)
    found = list(problems(why.value, _Outer, table))
    assert len(found) == len(lines)
    assert all(one.startswith(line) for one, line in zip(found, lines, strict=True)), found
