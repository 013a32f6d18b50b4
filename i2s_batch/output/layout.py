"""Defines where everything of a run lies under OUT. No other module knows a key."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable

_SHARD = re.compile(r"latents/shard-(\d{5,})\.parquet")
_CHECKSUM = re.compile(r"manifest/checksums/shard-(\d{5,})\.json")
_PUBLISHING = re.compile(r"work/publishing/shard-(\d{5,})\.json")
_NOISE = re.compile(r"noise/shard-(\d{5,})\.parquet")
_NOISE_CHECKSUM = re.compile(r"manifest/checksums/noise-(\d{5,})\.json")
_NOISE_PUBLISHING = re.compile(r"work/publishing/noise-(\d{5,})\.json")
_NOISE_ROW = re.compile(r"work/noise/\d{5,}/(\d{8,})\.arrow")
_ROW = re.compile(r"work/rows/\d{5,}/(\d{8,})\.arrow")
_CHECKPOINT = re.compile(r"work/checkpoints/(\d{8,})\.npz")
_PACK = re.compile(r"work/pictures/\d{5,}/(\d{8,})-([0-9a-f]{32})\.images")
_ARCHIVED = re.compile(r"pictures/shard-(\d{5,})\.(tar|parquet)/(.+)")
_REPORT_PAGE = re.compile(r"report/(images|animations)-(\d{5,})\.html")
_REPORT_IMAGE = re.compile(r"report/images/[0-9a-f]{2}/([0-9a-f]{32})-([a-z]+)\.jpg")
_PROBE = re.compile(r"work/probe-[0-9a-f]{32}")

_FOLDER = 1000  # rows of the work log in one folder: many file systems are slow with very large folders
# Folders below OUT that a run reserves, with all that is below them.
_FOLDERS = frozenset(
    {
        "manifest",
        "latents",
        "noise",
        "work",
        "pictures",
        "inputs",
        "figures",
        "animations",
        "report",
        "side-by-side",
        "unaligned",
    }
)


# The folder for files of ids that cannot be paths below a folder themselves.
_OTHER = "_other"
_NAME_BYTES = 255  # of a file or folder, on most file systems
_PATH_BYTES = 800  # S3 allows 1,024 for a whole key, with the prefix of OUT
_UNSAFE = re.compile(r"[^A-Za-z0-9]+")
_READABLE_CHARACTERS = 60


def file_name(image_id: str, suffix: str) -> str:
    """Return the name of a file that belongs to an id, as a path below a folder that holds such files only.

    An id that can be a path below a folder is one, with the suffix. An id that leaves the folder or cannot be a name
    (an absolute path, `../`, a url, an empty part, too long) gets a name in `_other/` with its SHA-256. Two ids never
    share a name, and no name is a folder of another.
    """
    if _is_path(image_id, suffix):
        return f"{image_id}.{suffix}"
    digest = hashlib.sha256(image_id.encode("utf-8", "surrogatepass")).hexdigest()
    readable = _UNSAFE.sub("_", image_id)[-_READABLE_CHARACTERS:].strip("_")
    return f"{_OTHER}/{readable}-{digest}.{suffix}"


def _is_path(image_id: str, suffix: str) -> bool:
    """Return whether an id can be a path below a folder: every part but the last is a folder there, and no file."""
    *folders, last = image_id.split("/")
    if any(part in ("", ".", "..") for part in (*folders, last)) or folders[:1] == [_OTHER] or "\0" in image_id:
        return False
    if any(folder.endswith(f".{suffix}") for folder in folders):  # the file of a shorter id may have this name
        return False
    try:
        sizes = [len(part.encode()) for part in (*folders, f"{last}.{suffix}")]
    except UnicodeEncodeError:  # not valid text
        return False
    return max(sizes) <= _NAME_BYTES and sum(sizes) + len(folders) <= _PATH_BYTES


def _index(pattern: re.Pattern[str], key: str, key_of: Callable[[int], str]) -> int | None:
    """Return the index for which `key_of` gives exactly `key`, None if there is none."""
    match = pattern.fullmatch(key)
    index = int(match[1]) if match else None
    return index if index is not None and key_of(index) == key else None


class RunLayout:
    """Lists the keys under OUT.

    `index` is the index of a unit (an image to embed, or a few to render) in the plan, from 0.
    """

    run_json = "run.json"
    plan = "manifest/images.parquet"
    summary = "summary.json"
    report = "report.html"
    report_prefix = "report/"
    report_index = "report/index.html"
    contact_sheet = "contact-sheet.png"
    shards_prefix = "latents/"
    noise_prefix = "noise/"
    animations_prefix = "animations/"
    inputs_prefix = "inputs/"
    pictures_prefix = "pictures/"
    figures_prefix = "figures/"
    checksums_prefix = "manifest/checksums/"
    comparisons_prefix = "side-by-side/"
    unaligned_prefix = "unaligned/"
    study = "study.md"
    study_edits = "figures/edits.csv"
    REPORT_IMAGES = ("original", "reconstruction", "difference", "parent")
    work_prefix = "work/"
    all_rows_prefix = "work/rows/"
    checkpoints_prefix = "work/checkpoints/"
    publishing_prefix = "work/publishing/"
    lease = "work/lease.json"
    deaths = "work/deaths.json"

    @staticmethod
    def shard(shard: int) -> str:
        """Return the key of a shard of the table."""
        return f"latents/shard-{shard:05d}.parquet"

    @staticmethod
    def checksum(shard: int) -> str:
        """Return the key of the checksum of a published shard."""
        return f"manifest/checksums/shard-{shard:05d}.json"

    @staticmethod
    def publishing(shard: int) -> str:
        """Return the key of the checksum of a shard that is being published."""
        return f"work/publishing/shard-{shard:05d}.json"

    @staticmethod
    def noise(number: int) -> str:
        """Return the key of a file of noise maps (`noise_parts`)."""
        return f"noise/shard-{number:05d}.parquet"

    @staticmethod
    def noise_checksum(number: int) -> str:
        """Return the key of the checksum of a published file of noise maps."""
        return f"manifest/checksums/noise-{number:05d}.json"

    @staticmethod
    def noise_publishing(number: int) -> str:
        """Return the key of the checksum of a file of noise maps that is being published."""
        return f"work/publishing/noise-{number:05d}.json"

    @staticmethod
    def noise_row(index: int) -> str:
        """Return the key of the noise maps of a unit in the work log."""
        return f"work/noise/{index // _FOLDER:05d}/{index:08d}.arrow"

    @staticmethod
    def row(index: int) -> str:
        """Return the key of the rows of a unit in the work log."""
        return f"work/rows/{index // _FOLDER:05d}/{index:08d}.arrow"

    @staticmethod
    def pack(index: int, digest: str) -> str:
        """Return the key of the images of a unit in the work log; `digest`: 32 hexadecimal digits of their content."""
        return f"work/pictures/{index // _FOLDER:05d}/{index:08d}-{digest}.images"

    @staticmethod
    def archive(shard: int, suffix: str) -> str:
        """Return the key of the archive with the images of a shard; `suffix`: tar or parquet."""
        return f"pictures/shard-{shard:05d}.{suffix}"

    @staticmethod
    def archived(archive: str, member: str) -> str:
        """Return what names a member of the archive at the key `archive` as a key names a file."""
        return f"{archive}/{member}"

    @staticmethod
    def archive_and_member(key: str) -> tuple[int, str, str] | None:
        """Return shard, suffix and member that `archived` has put together; None for any other key."""
        match = _ARCHIVED.fullmatch(key)
        if match is None or not key.startswith(RunLayout.archive(int(match[1]), match[2]) + "/"):
            return None
        return int(match[1]), match[2], match[3]

    @staticmethod
    def checkpoint(index: int) -> str:
        """Return the key of the checkpoint of a unit."""
        return f"work/checkpoints/{index:08d}.npz"

    @staticmethod
    def picture(image_id: str, suffix: str) -> str:
        """Return the key of the image file of an id; of an edit, as earlier versions named it."""
        return "pictures/" + file_name(image_id, suffix)

    @staticmethod
    def edited(name: str, frame: int | None, suffix: str) -> str:
        """Return the key of an edited image: a frame of the sequence `name`, or its only image."""
        return f"pictures/{name}.{suffix}" if frame is None else f"pictures/{name}/{frame:05d}.{suffix}"

    @staticmethod
    def is_picture(key: str) -> bool:
        """Return whether a key names an image file, wherever it was read."""
        folder, *parts = key.split("/")
        return folder == "pictures" and bool(parts) and not any(part in ("", ".", "..") for part in parts)

    @staticmethod
    def side_by_side(picture: str) -> str:
        """Return the key of the comparison that shows the image at the key `picture` beside its photograph."""
        return RunLayout.comparisons_prefix + picture.removeprefix("pictures/")

    @staticmethod
    def unaligned(picture: str) -> str:
        """Return the key of the photograph into which the face at the key `picture` is pasted."""
        return RunLayout.unaligned_prefix + picture.removeprefix("pictures/")

    @staticmethod
    def animation_of(picture: str, suffix: str) -> str:
        """Return the key of the animation of the sequence that has a frame at the key `picture`."""
        return f"animations/{picture.removeprefix('pictures/').rpartition('/')[0]}.{suffix}"

    @staticmethod
    def altered(image_id: str) -> str:
        """Return the key of the image that a study embeds in place of one of its source."""
        return "inputs/" + file_name(image_id, "png")

    @staticmethod
    def figure(name: str) -> str:
        """Return the key of a study's figure."""
        return f"figures/{name}.png"

    @staticmethod
    def animation(sequence: str, suffix: str) -> str:
        """Return the key of the animation of a sequence, as earlier versions named it."""
        return "animations/" + file_name(sequence, suffix)

    @staticmethod
    def report_page(what: str, number: int) -> str:
        """Return the key of a page beside the report, from 1; `what`: images or animations."""
        return f"report/{what}-{number:05d}.html"

    @staticmethod
    def report_image(digest: str, what: str) -> str:
        """Return the key of an image of the report; `digest`: 32 hexadecimal digits; `what`: one of REPORT_IMAGES."""
        return f"report/images/{digest[:2]}/{digest}-{what}.jpg"

    @staticmethod
    def is_report(key: str) -> bool:
        """Return whether a report writes this very key beside itself, and deletes it when no page needs it."""
        page, image = _REPORT_PAGE.fullmatch(key), _REPORT_IMAGE.fullmatch(key)
        if page:
            return key == RunLayout.report_page(page[1], int(page[2]))
        if image:
            return image[2] in RunLayout.REPORT_IMAGES and key == RunLayout.report_image(image[1], image[2])
        return key == RunLayout.report_index

    @staticmethod
    def shard_index(key: str) -> int | None:
        """Return the shard whose key this is; None for any other key."""
        return _index(_SHARD, key, RunLayout.shard)

    @staticmethod
    def checksum_index(key: str) -> int | None:
        """Return the shard whose checksum is at this key; None for any other key."""
        return _index(_CHECKSUM, key, RunLayout.checksum)

    @staticmethod
    def publishing_index(key: str) -> int | None:
        """Return the shard whose publication is recorded at this key; None for any other key."""
        return _index(_PUBLISHING, key, RunLayout.publishing)

    @staticmethod
    def noise_index(key: str) -> int | None:
        """Return the number of the file of noise maps whose key this is; None for any other key."""
        return _index(_NOISE, key, RunLayout.noise)

    @staticmethod
    def noise_checksum_index(key: str) -> int | None:
        """Return the number of the file of noise maps whose checksum is at this key; None for any other key."""
        return _index(_NOISE_CHECKSUM, key, RunLayout.noise_checksum)

    @staticmethod
    def noise_publishing_index(key: str) -> int | None:
        """Return the number of the file of noise maps whose publication this records; None for any other key."""
        return _index(_NOISE_PUBLISHING, key, RunLayout.noise_publishing)

    @staticmethod
    def noise_row_index(key: str) -> int | None:
        """Return the unit whose noise maps are at this key; None for any other key."""
        return _index(_NOISE_ROW, key, RunLayout.noise_row)

    @staticmethod
    def row_index(key: str) -> int | None:
        """Return the unit whose rows are at this key; None for any other key."""
        return _index(_ROW, key, RunLayout.row)

    @staticmethod
    def pack_index(key: str) -> int | None:
        """Return the unit of whose images this is the key; None for any other key."""
        match = _PACK.fullmatch(key)
        return _index(_PACK, key, lambda index: RunLayout.pack(index, match[2])) if match else None

    @staticmethod
    def checkpoint_index(key: str) -> int | None:
        """Return the unit whose checkpoint is at this key; None for any other key."""
        return _index(_CHECKPOINT, key, RunLayout.checkpoint)

    @staticmethod
    def is_probe(key: str) -> bool:
        """Return whether `Store.check_writable` uses such keys."""
        return _PROBE.fullmatch(key) is not None

    @staticmethod
    def is_work(key: str) -> bool:
        """Return whether a run writes this very key under work/, and deletes it when it is no longer needed.

        Nothing else under work/ belongs to the run.
        """
        if key in (RunLayout.lease, RunLayout.deaths) or RunLayout.is_probe(key):
            return True
        return RunLayout.is_logged(key) or RunLayout.is_intent(key)

    @staticmethod
    def is_logged(key: str) -> bool:
        """Return whether this is the key of rows, noise maps, images or a checkpoint in the work log."""
        indices = (RunLayout.row_index, RunLayout.noise_row_index, RunLayout.checkpoint_index, RunLayout.pack_index)
        return any(index(key) is not None for index in indices)

    @staticmethod
    def is_intent(key: str) -> bool:
        """Return whether the publication of a file is recorded at this key."""
        return RunLayout.publishing_index(key) is not None or RunLayout.noise_publishing_index(key) is not None

    @staticmethod
    def names(key: str) -> bool:
        """Return whether a run writes at this key, or reserves the folder that contains it."""
        single = (RunLayout.run_json, RunLayout.summary, RunLayout.report, RunLayout.contact_sheet, RunLayout.study)
        return key in single or key.partition("/")[0] in _FOLDERS

    @staticmethod
    def is_folder(folder: str) -> bool:
        """Return whether a run writes into this folder below OUT ('' for OUT itself)."""
        return not folder or folder.partition("/")[0] in _FOLDERS
