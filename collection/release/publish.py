"""A release -> a dataset repository on the Hugging Face Hub.

Everything but the card and the descriptions is sent first, those last and in a commit of their own: where the
`dataset.json` of a release is, all of it is. `upload_folder` sends in several commits and resumes where it was
stopped. A release that is there already sends nothing. Afterwards it is read back by commit, and only then tagged.
"""

import glob
import hashlib
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import (
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt

from collection.release.prepare import MARKER, Prepared
from collection.viewing.page import VIEWER
from mlst.dataset.croissant import CROISSANT
from mlst.dataset.description import CARD, DATASET, File
from mlst.exits import Exit, UserError
from mlst.hub import TRANSPORT_ERROR

LAST = (CARD, CROISSANT, DATASET)
"""What makes the rest a dataset."""
OWNED = ("assets/", "data/", "metadata/", VIEWER)
"""Folders in which only files of the release may lie, because the card's globs would find others, and the player."""
GIT_ATTRIBUTES = ".gitattributes"
FULL_BYTES = 1 << 30
"""Releases up to here are read back in full where nothing else is asked for."""
SMALL_BYTES = 10 << 20
"""The Hub keeps larger files, and those its .gitattributes names, by their sha256; smaller ones in Git."""
TRIES = 4
TRANSIENT = (408, 429, 500, 502, 503, 504)

ReadBack = Literal["auto", "full", "hashes"]

REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
"""Of branches and tags."""


class PublishError(UserError, RuntimeError):
    """The Hub refused, cannot be reached, or holds something else than was sent."""

    exit_code = Exit.PARTLY


class TargetError(UserError, ValueError):
    """A target that the Hub would refuse, or no account to publish from."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a release goes."""

    repository: str
    """`OWNER/NAME`."""
    revision: str
    """Branch."""
    tag: str
    """"" for none."""
    private: bool
    """Of a repository that does not exist yet."""
    gated: Literal["", "auto", "manual"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What differs between a release and a branch."""

    head: str
    """Commit of the branch; "" where there is none."""
    send: tuple[File, ...]
    remove: tuple[str, ...]
    same: int
    """Files that are there already."""


@dataclass(frozen=True, slots=True)
class Published:
    """A release as it is on the Hub."""

    repository: str
    commit: str
    tag: str
    url: str
    sent: int
    """Files."""
    bytes: int
    removed: int
    hashes: int
    """Files whose sha256 is what the Hub recorded (Git's hash for small ones)."""
    downloads: int
    """Files that were downloaded again and compared."""


def check(target: Target) -> None:
    """Raise `TargetError` for names that the Hub would refuse, or if no token is set."""
    if not REPOSITORY.fullmatch(target.repository):
        raise TargetError(f"{target.repository!r} is not OWNER/NAME")
    for name in filter(None, (target.revision, target.tag)):
        if not REVISION.fullmatch(name):
            raise TargetError(f"{name!r} is not a branch or tag name that matches {REVISION.pattern}")
    if not get_token():
        raise TargetError("no token: log in with `hf auth login`, or set HF_TOKEN to a token that may write")


def plan(release: Prepared, target: Target, api: HfApi) -> Plan:
    """Compare a release with what is on the Hub; changes nothing. Raises `PublishError`."""
    with _explained():
        return _plan(release, target, api)


def _plan(release: Prepared, target: Target, api: HfApi) -> Plan:
    try:
        head = _head(target, api)
    except RepositoryNotFoundError:
        return Plan("", release.files, (), 0)
    there = _tree(api, target, head)
    send = tuple(file for file in release.files if not _same(release.folder, file, there.get(file.path)))
    return Plan(head, send, tuple(_left_over(release, there)), len(release.files) - len(send))


def _left_over(release: Prepared, there: Iterable[str]) -> list[str]:
    """What an earlier release left: a list of sources, above all, may name those that were taken down since."""
    names = {file.path for file in release.files}
    return sorted(p for p in there if p not in names and (p.startswith(OWNED) or p in release.lists))


def _head(target: Target, api: HfApi) -> str:
    """Commit of the branch, or the one that it will begin at."""
    try:
        return api.repo_info(target.repository, repo_type="dataset", revision=target.revision).sha or ""
    except RevisionNotFoundError:
        return api.repo_info(target.repository, repo_type="dataset").sha or ""


def publish(release: Prepared, target: Target, api: HfApi, read_back: ReadBack = "auto") -> Published:
    """Send a release, read it back, tag it.

    Raises `PublishError`. If it is interrupted, the same call resumes; what was sent is not sent again.
    """
    with _explained():
        return _publish(release, target, api, read_back)


@contextmanager
def _explained() -> Iterator[None]:
    """Turn what the client raises into `PublishError`."""
    try:
        yield
    except HfHubHTTPError as why:
        raise PublishError(f"the Hub refused: {_said(why)}") from why
    except (TRANSPORT_ERROR, ConnectionError, LocalEntryNotFoundError) as why:
        raise PublishError(f"the Hub cannot be reached: {why}; run the same command again to resume") from why


def _publish(release: Prepared, target: Target, api: HfApi, read_back: ReadBack) -> Published:
    _prepare_repository(target, api)
    tagged = _tagged(target, api)
    first = todo = _plan(release, target, api)
    if tagged and (todo.send or todo.remove or tagged != todo.head):
        raise PublishError(
            f"tag {target.tag!r} is taken by commit {tagged[:12]}, which is not this release; "
            "tags never move: raise the recipe's version and give another --tag"
        )
    for attempt in retrying():
        with attempt:
            if attempt.retry_state.attempt_number > 1:
                todo = _again(release, target, api, todo)
            commit = _send(release, target, api, todo)
    hashes, downloads = _read_back(release, target, api, commit, read_back)
    if target.tag and not tagged:
        api.create_tag(target.repository, tag=target.tag, revision=commit, repo_type="dataset")
    return Published(
        repository=target.repository,
        commit=commit,
        tag=target.tag,
        url=f"{api.endpoint}/datasets/{target.repository}/tree/{target.tag or commit}",
        sent=len(first.send),
        bytes=sum(file.size for file in first.send),
        removed=len(first.remove),
        hashes=hashes,
        downloads=downloads,
    )


def _prepare_repository(target: Target, api: HfApi) -> None:
    """Create what is not there; never change who can see what is."""
    try:
        info: Any = api.repo_info(target.repository, repo_type="dataset")
    except RepositoryNotFoundError:
        api.create_repo(target.repository, repo_type="dataset", private=target.private, exist_ok=True)
    else:
        if target.private and not info.private:
            raise PublishError(
                f"{target.repository} is public; make it private on the Hub first, or leave out --private"
            )
    if target.gated:
        api.update_repo_settings(target.repository, repo_type="dataset", gated=target.gated)
    if target.revision != "main":
        api.create_branch(target.repository, branch=target.revision, repo_type="dataset", exist_ok=True)


def _tagged(target: Target, api: HfApi) -> str:
    """Commit of the tag; "" where there is none yet."""
    refs = api.list_repo_refs(target.repository, repo_type="dataset")
    return next((ref.target_commit for ref in refs.tags if target.tag and ref.name == target.tag), "")


def _send(release: Prepared, target: Target, api: HfApi, todo: Plan) -> str:
    """Send what differs, the last files last. Gives the commit that holds the release."""
    title = f"{release.dataset.name} {release.dataset.version} ({release.mode})"
    head = todo.head
    if todo.remove or any(file.path not in LAST for file in todo.send):
        remove = [glob.escape(path) for path in todo.remove]
        head = _upload(release, target, api, head, f"{title}: files", ignore=[MARKER, *LAST], remove=remove)
    if any(file.path in LAST for file in todo.send):
        head = _upload(release, target, api, head, title, allow=[*LAST])
    return head


def _upload(
    release: Prepared,
    target: Target,
    api: HfApi,
    head: str,
    title: str,
    *,
    ignore: Sequence[str] = (),
    allow: Sequence[str] = (),
    remove: Sequence[str] = (),
) -> str:
    """One call of `upload_folder` on top of commit `head`; gives the commit after it."""
    try:
        done = api.upload_folder(
            repo_id=target.repository,
            repo_type="dataset",
            folder_path=release.folder,
            revision=target.revision,
            parent_commit=head,
            commit_message=title,
            ignore_patterns=list(ignore),
            allow_patterns=list(allow) or None,
            delete_patterns=list(remove) or None,
        )
    except RuntimeError as why:  # hf_xet's, and the client's for a large file that failed
        raise PublishError(f"the upload stopped: {why}; run the same command again to resume") from why
    return str(done.oid)


def retrying() -> Retrying:
    """Tries a commit again. The client retries most requests by itself, but not a commit where hf_xet is off."""
    return Retrying(retry=retry_if_exception(_is_transient), wait=_pause, stop=stop_after_attempt(TRIES), reraise=True)


def _is_transient(why: BaseException) -> bool:
    response = getattr(why, "response", None)
    return isinstance(why, TRANSPORT_ERROR) and (response is None or response.status_code in {412, *TRANSIENT})


def _pause(state: RetryCallState) -> float:
    """Seconds until the next try: none where somebody else committed meanwhile, else what the Hub asks for.

    Its RateLimit header is that of the IETF draft: `"api";r=0;t=120` for nothing left in the next 120 s.
    """
    response = getattr(state.outcome and state.outcome.exception(), "response", None)
    if response is not None and response.status_code == 412:
        return 0.0
    reset = re.search(r"\bt=(\d{1,4})\b", response.headers.get("RateLimit", "") if response is not None else "")
    return int(reset[1]) + 1.0 if reset else 2.0 ** (state.attempt_number - 1)


def _again(release: Prepared, target: Target, api: HfApi, before: Plan) -> Plan:
    """A new plan after a commit failed: the branch moved, or our own commit was made and its answer lost.

    Raises `PublishError` if somebody else wrote: commits since the plan must bear our name.
    """
    title = f"{release.dataset.name} {release.dataset.version} ({release.mode})"
    for commit in api.list_repo_commits(target.repository, repo_type="dataset", revision=target.revision):
        if commit.commit_id == before.head:
            return _plan(release, target, api)
        if not commit.title.startswith(title):
            break
    raise PublishError(
        f"{target.repository} was changed by someone else in the meantime; look at it, then run the same command again"
    )


def _tree(api: HfApi, target: Target, commit: str) -> dict[str, RepoFile]:
    listed = api.list_repo_tree(target.repository, repo_type="dataset", revision=commit, recursive=True)
    return {entry.path: entry for entry in listed if isinstance(entry, RepoFile) and entry.path != GIT_ATTRIBUTES}


def _same(folder: Path, file: File, there: RepoFile | None) -> bool:
    """Whether the Hub's record of a file is that of ours: its sha256, or Git's hash of a small one."""
    if there is None or there.size != file.size:
        return False
    if there.lfs is not None:
        return there.lfs.sha256 == file.sha256
    return file.size <= SMALL_BYTES and there.blob_id == _git_hash(folder / file.path)


def _git_hash(path: Path) -> str:
    data = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()  # noqa: S324 - Git's own


def _read_back(release: Prepared, target: Target, api: HfApi, commit: str, how: ReadBack) -> tuple[int, int]:
    """Compare a commit with the release, file by file. Gives how many by recorded hash, and how many by content."""
    there = _tree(api, target, commit)
    wrong = [file.path for file in release.files if not _same(release.folder, file, there.get(file.path))]
    wrong += _left_over(release, there)
    size = sum(file.size for file in release.files)
    full = how == "full" or (how == "auto" and size <= FULL_BYTES)
    chosen = [file for file in release.files if full or there[file.path].lfs is None] if not wrong else []
    wrong += _downloaded_wrong(chosen, target, api, commit)
    if wrong:
        raise PublishError(
            f"{target.repository} at {commit[:12]} is not what was sent: {', '.join(wrong[:10])}; "
            "it was not tagged, and the same command sends what is wrong again"
        )
    return len(release.files), len(chosen)


def _downloaded_wrong(files: Sequence[File], target: Target, api: HfApi, commit: str) -> Iterator[str]:
    """Paths that have other bytes when they are fetched by commit. One file at a time is on disk."""
    for file in files:
        with tempfile.TemporaryDirectory() as cache:
            path = api.hf_hub_download(
                target.repository, file.path, repo_type="dataset", revision=commit, cache_dir=cache
            )
            with open(path, "rb") as data:
                if hashlib.file_digest(data, "sha256").hexdigest() != file.sha256:
                    yield file.path


def _said(why: HfHubHTTPError) -> str:
    """What the Hub answered, without headers."""
    status = why.response.status_code if why.response is not None else "no answer"
    remedy = {
        401: "log in with `hf auth login`, or set HF_TOKEN to a token that may write",
        403: "the token may not write there",
        412: "the repository was changed in the meantime; run the same command again",
        429: "too many requests; run the same command later",
    }.get(status if isinstance(status, int) else 0, "run the same command again to resume")
    return f"{status}: {why.server_message or str(why).splitlines()[0]} ({remedy})"
