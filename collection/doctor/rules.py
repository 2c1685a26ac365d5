"""What `mlst doctor` looks for, and what is to be done about it."""

from dataclasses import dataclass

ERROR, WARNING, NOTE = "error", "warning", "note"
SEVERITIES = (ERROR, WARNING, NOTE)
"""An error loses or falsifies data for some reader; a warning makes results doubtful; a note is worth knowing."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One kind of defect."""

    severity: str
    meaning: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One defect of one clip, sample, file, or of the whole."""

    rule: str
    where: str
    """Key or path; "" for the whole dataset."""
    detail: str


RULES = {
    # how it lies there
    "tar": Rule(ERROR, "a tar is damaged or cut off", "write the shard again from its sources"),
    "empty": Rule(ERROR, "a shard holds no sample", "remove it: `datasets` fails on it"),
    "uneven": Rule(WARNING, "a shard is less than half as large as the others", "cut shards by bytes"),
    "order": Rule(ERROR, "members of one sample lie apart", "sort members by key: readers see two samples"),
    "member": Rule(ERROR, "a sample has a member twice", "keep one: readers refuse or take either"),
    "dot": Rule(ERROR, "a key has a dot in it", "replace it: loaders end a key at its first dot and merge samples"),
    "key": Rule(ERROR, "a key is given twice", "make keys unique over all shards"),
    "pair": Rule(ERROR, "a sample lacks a member that most have", "add it, or take the sample out"),
    "case": Rule(WARNING, "names differ only in case", "rename them: some file systems cannot hold both"),
    "name": Rule(WARNING, "a name is not portable", "use letters, digits, . _ and - in names"),
    "link": Rule(WARNING, "a link leads out of the dataset", "put the file in its place: it was not followed"),
    "schema": Rule(
        ERROR, "records differ in fields or types", "give every field one type, and a value in every record"
    ),
    "json": Rule(ERROR, "a record is not JSON", "write it as UTF-8 JSON without NaN"),
    "table": Rule(ERROR, "the table names a file that is not there", "correct the path, or drop the row"),
    "unlisted": Rule(WARNING, "a video is not in the table", "add its row: loaders that read the table pass it over"),
    "hub": Rule(WARNING, "more files than the Hub takes in one folder or repository", "pack clips into shards"),
    "licence": Rule(WARNING, "no licence is stated", "state one in README.md, LICENSE, or for every row"),
    # how it is stored
    "decode": Rule(ERROR, "a clip cannot be decoded", "encode it again, or take it out"),
    "damaged": Rule(ERROR, "frames of a clip are damaged", "fetch or encode it again"),
    "audio": Rule(ERROR, "a file has sound and no picture", "take it out"),
    "frames": Rule(ERROR, "it has more or fewer frames than is declared", "correct the record, or remux"),
    "duration": Rule(WARNING, "it is shorter or longer than is declared", "correct the record, or remux"),
    "rate": Rule(WARNING, "its frame rate is not the one on record", "correct the record"),
    "size": Rule(WARNING, "its width or height is not the one on record", "correct the record"),
    "variable": Rule(WARNING, "its frames are not evenly spaced", "sample by time, or convert to a constant rate"),
    "interlaced": Rule(WARNING, "it is interlaced", "deinterlace before scaling: combs stay for good"),
    "range": Rule(
        WARNING, "it is tagged limited range and uses the full one", "correct the tag: blacks and whites are lost"
    ),
    "matrix": Rule(
        NOTE, "high definition with the matrix of standard definition", "check it: a wrong tag shifts colours"
    ),
    # what it shows
    "cut": Rule(WARNING, "there is a cut inside a clip", "cut the clip there"),
    "gradual": Rule(WARNING, "there is a dissolve, fade or wipe inside a clip", "cut the clip before and after it"),
    "black": Rule(WARNING, "at least half of its frames are black", "take it out"),
    "frozen": Rule(WARNING, "at least four of five frames repeat the one before", "take it out"),
    "stutter": Rule(WARNING, "every few frames one is repeated", "drop the repeats: its true rate is lower"),
    "static": Rule(NOTE, "hardly anything moves", "take it out where motion is what matters"),
    "bars": Rule(NOTE, "it has black bars", "crop them: every statistic and loss counts them"),
    "camera": Rule(NOTE, "only the camera moves", "take it out where objects are to be predicted"),
    "leak": Rule(ERROR, "the same footage is in two splits", "keep all of it in one split"),
    "double": Rule(WARNING, "two clips show the same footage", "keep one of them"),
}
