"""Publishes a model's folder on the Hugging Face Hub, in one commit."""

from __future__ import annotations

from pathlib import Path

from eva.errors import InfrastructureError, InputError

CARD = "README.md"


def push_folder(
    folder: Path, repo: str, *, card: str, message: str, private: bool = True, revision: str | None = None
) -> str:
    """Commits every file of a folder to a model repository, with this card as README. Returns the commit's address.

    The repository and the branch `revision` are made if they do not exist. Readers see all files or none. Raises
    InputError when the hub refuses the name or the token, InfrastructureError when it cannot be reached.
    """
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError, OfflineModeIsEnabled

    files = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / CARD)
    operations = [CommitOperationAdd(file.relative_to(folder).as_posix(), file) for file in files]
    operations.append(CommitOperationAdd(CARD, card.encode()))
    api = HfApi()
    try:
        api.create_repo(repo, private=private, exist_ok=True)
        if revision is not None:
            api.create_branch(repo, branch=revision, exist_ok=True)
        commit = api.create_commit(repo, operations, commit_message=message, revision=revision)
    except (HFValidationError, LocalTokenNotFoundError) as error:
        raise _refused(repo, error) from error
    except HfHubHTTPError as error:
        if error.response.status_code in (400, 401, 403, 404, 409):
            raise _refused(repo, error) from error
        raise _unreachable(error) from error
    except (OfflineModeIsEnabled, OSError) as error:
        raise _unreachable(error) from error
    return str(commit.commit_url)


def _refused(repo: str, error: Exception) -> InputError:
    return InputError(
        f"the hub refused to publish {repo!r}: {_line(error)}",
        expected="OWNER/NAME of yours, and a token that may write",
        next_move="Set HF_TOKEN to a token with write access, and check the name",
    )


def _unreachable(error: Exception) -> InfrastructureError:
    return InfrastructureError(
        f"the hub cannot be reached: {_line(error)}", next_move="Check the connection, then try again"
    )


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
