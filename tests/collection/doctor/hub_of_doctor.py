"""Put a folder into a repository of the Hub that the environment names, and survey it there."""

import sys
from pathlib import Path

from huggingface_hub import HfApi

from collection.doctor.distant import placed
from collection.doctor.survey import survey

if __name__ == "__main__":
    folder, room = map(Path, sys.argv[1:])
    room.mkdir()
    api = HfApi()
    api.create_repo("someone/set", repo_type="dataset")
    api.upload_folder(repo_id="someone/set", folder_path=folder, repo_type="dataset")
    with placed("hf://datasets/someone/set", room) as place:
        found = survey(place)
    print(f"{len(found.entries)} clips at {place.name}")
    for one in found.findings:
        print(one.rule, one.where, one.detail)
