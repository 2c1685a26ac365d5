"""A saved model -> a model repository on the Hugging Face Hub, in one commit."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, RepositoryNotFoundError
from huggingface_hub.utils._validators import validate_repo_id

from astm.pretrained.store import CARD, CONFIG, WEIGHTS
from mlst.exits import Exit, UserError
from mlst.hub import TRANSPORT_ERROR

REMEDY = {
    401: "log in with `hf auth login`, or set HF_TOKEN to a token that may write",
    403: "the token may not write there",
    429: "too many requests; do the same later",
}


class HubError(UserError, RuntimeError):
    """A name or a login that the Hub cannot take; the message names the remedy."""


class RefusedError(HubError):
    """The Hub refused or cannot be reached; the message names the remedy."""

    exit_code = Exit.PARTLY


def check_name(repository: str) -> None:
    """Raise `HubError` for a name that the Hub would refuse."""
    try:
        validate_repo_id(repository)
    except HFValidationError as why:
        raise HubError(f"{repository!r} is not the name of a repository: {why}") from None
    if repository.count("/") != 1:
        raise HubError(f"{repository!r} is not OWNER/NAME")


def check(repository: str) -> None:
    """Raise `HubError` for a name that the Hub would refuse, or where no token is set."""
    check_name(repository)
    if not get_token():
        raise HubError("no token: log in with `hf auth login`, or set HF_TOKEN to a token that may write")


def push(folder: Path, repository: str, private: bool, revision: str) -> str:
    """Send weights, settings and card of `folder`; gives the commit that holds them.

    Where nothing differs no commit is made, and the present one is given. Raises `HubError`.
    """
    api = HfApi()
    with _explained(repository):
        _prepare(api, repository, private, revision)
        files = [CommitOperationAdd(name, folder / name) for name in (WEIGHTS, CONFIG, CARD)]
        done = api.create_commit(repository, files, commit_message="Model, settings and card", revision=revision)
    return str(done.oid)


def address(repository: str, commit: str) -> str:
    """URL of a commit's page on the Hub."""
    return f"{HfApi().endpoint}/{repository}/tree/{commit}"


def _prepare(api: HfApi, repository: str, private: bool, revision: str) -> None:
    """Create what is not there; never change who can see what is."""
    try:
        public = not api.repo_info(repository).private
    except RepositoryNotFoundError:
        api.create_repo(repository, private=private, exist_ok=True)
        public = False
    if private and public:
        raise HubError(f"{repository} is public; make it private on the Hub first, or leave out `private`")
    if revision != "main":
        api.create_branch(repository, branch=revision, exist_ok=True)


@contextmanager
def _explained(repository: str) -> Iterator[None]:
    """Turn what the client raises into `HubError`."""
    try:
        yield
    except HfHubHTTPError as why:
        status = why.response.status_code if why.response is not None else 0
        said = why.server_message or str(why).splitlines()[0]
        raise RefusedError(f"the Hub refused {repository}: {said} ({REMEDY.get(status, 'try again')})") from why
    except (TRANSPORT_ERROR, ConnectionError) as why:
        raise RefusedError(f"the Hub cannot be reached: {why}; run the same command again") from why
    except RuntimeError as why:  # hf_xet's, and the client's for a large file that failed
        if isinstance(why, HubError):
            raise
        raise RefusedError(f"the upload stopped: {why}; run the same command again") from why
