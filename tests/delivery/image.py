"""An image without a container engine: the Dockerfile's own steps, each in a root folder of its stage.

Only what `docker build` would run is run, read from the Dockerfile, so the two cannot drift apart. A root
has this machine's system read-only, this Python in /usr/local in place of the base image's, and the
Dockerfile's writes. What this cannot show: that the base image is there, and what it differs in. Nearer to it
is its own Debian, with hardly a library (as root):

    debootstrap --variant=minbase --include=ca-certificates,netbase,tzdata,libssl3t64,libffi8,libsqlite3-0,\
libreadline8t64,libncursesw6,zlib1g,libbz2-1.0,liblzma5,libuuid1,libexpat1 trixie /tmp/trixie
    SUBSIGHT_DEBIAN_ROOT=/tmp/trixie uv run pytest tests/delivery
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

SYSTEM = Path(os.environ.get("SUBSIGHT_DEBIAN_ROOT", "/"))
NETWORK = (
    "PIP_",
    "UV_INDEX",
    "UV_DEFAULT_INDEX",
    "SSL_CERT",
    "HTTP",
    "http",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
)


@dataclass
class Stage:
    """One FROM: its root folder and what the instructions set."""

    root: Path
    base: str
    environment: dict[str, str] = field(default_factory=dict)
    arguments: dict[str, str] = field(default_factory=dict)
    directory: str = "/"
    user: str = "0:0"
    ports: list[str] = field(default_factory=list)
    volumes: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    entrypoint: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)


def instructions(text: str) -> list[tuple[str, str]]:
    """Each instruction with its arguments, comments and line breaks removed."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [
        (word.upper(), rest)
        for word, _, rest in (line.partition(" ") for line in joined.splitlines())
        if word
    ]


def ignored(path: str, dockerignore: str) -> bool:
    """Whether the build context lacks a path, by the last pattern that fits it or a folder above it."""
    parts = Path(path).parts
    above = ["/".join(parts[: i + 1]) for i in range(len(parts))]
    verdict = False
    for line in dockerignore.splitlines():
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        bare = pattern.lstrip("!")
        names = [*parts] if bare.startswith("**/") else above
        if any(fnmatch(name, bare.removeprefix("**/")) for name in names):
            verdict = not pattern.startswith("!")
    return verdict


class Image:
    """Builds the stages below a folder and runs commands in the last one."""

    def __init__(self, context: Path, folder: Path, bundle: Path | None = None) -> None:
        self.context, self.folder, self.bundle = context, folder, bundle
        self.stages: dict[str, Stage] = {}
        self.stage = Stage(folder, "")

    def build(self) -> Stage:
        """Carries out every instruction; one that is unknown fails."""
        for word, rest in instructions((self.context / "Dockerfile").read_text(encoding="utf-8")):
            getattr(self, f"_{word.lower()}")(rest)
        return self.stage

    def _from(self, rest: str) -> None:
        base, _, name = rest.partition(" AS ")
        root = self.folder / (name or "final")
        self.stage = self.stages[name or "final"] = Stage(root, base)
        root.mkdir(parents=True)
        if name == "bundle" and self.bundle:  # --build-context bundle=FOLDER takes the stage's place
            shutil.rmtree(root)
            shutil.copytree(self.bundle, root)
        if base == "scratch":
            return
        assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", base), base
        for name in ("tmp", "root", "dev", "proc", "usr", "run"):
            (root / name).mkdir()
        (root / "tmp").chmod(0o1777)
        shutil.copytree(SYSTEM / "etc", root / "etc", symlinks=True)
        if str(SYSTEM) != "/":  # how this machine reaches its package registry
            for file in ("resolv.conf", "ssl/certs/ca-certificates.crt"):
                shutil.copy(Path("/etc", file), root / "etc" / file)
        self.stage.environment = {"PATH": "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"}
        self._python(self.folder / f"{root.name}.local")

    def _python(self, local: Path) -> None:
        """What the base image has in /usr/local: this machine's Python and its pip, moved there."""
        version = f"python3.{sys.version_info.minor}"
        (local / "bin").mkdir(parents=True)
        shutil.copy(Path(sys.base_prefix, "bin", version), local / "bin" / version)
        for name in ("python", "python3"):
            (local / "bin" / name).symlink_to(version)
        left = shutil.ignore_patterns("site-packages", "dist-packages", "test", "__pycache__")
        shutil.copytree(Path(os.__file__).parent, local / "lib" / version, ignore=left)
        (local / "lib" / version / "site-packages").mkdir()
        for library in Path(sys.base_prefix, "lib").glob("libpython3*"):
            shutil.copy(library, local / "lib")
        for step in (["ldconfig"], ["python", "-m", "ensurepip", "--default-pip"]):
            done = subprocess.run(self.command(step, self.stage), capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr

    def _arg(self, rest: str) -> None:
        name, _, default = rest.partition("=")
        self.stage.arguments[name] = default.strip('"')

    def _pairs(self, rest: str) -> dict[str, str]:
        known = {**self.stage.environment, **self.stage.arguments}
        pairs = dict(word.split("=", 1) for word in shlex.split(rest))
        return {k: re.sub(r"\$\{(\w+)\}", lambda m: known[m[1]], v) for k, v in pairs.items()}

    def _env(self, rest: str) -> None:
        self.stage.environment |= self._pairs(rest)

    def _label(self, rest: str) -> None:
        assert all(self._pairs(rest))

    def _workdir(self, rest: str) -> None:
        self.stage.directory = rest
        (self.stage.root / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)

    def _user(self, rest: str) -> None:
        self.stage.user = rest

    def _volume(self, rest: str) -> None:
        self.stage.volumes.append(rest)

    def _expose(self, rest: str) -> None:
        self.stage.ports += rest.split()

    def _entrypoint(self, rest: str) -> None:
        self.stage.entrypoint = json.loads(rest)

    def _cmd(self, rest: str) -> None:
        self.stage.command = json.loads(rest)

    def _healthcheck(self, rest: str) -> None:
        self.stage.health = json.loads(rest.partition("CMD ")[2])

    def _copy(self, rest: str) -> None:
        words = shlex.split(rest)
        origin = self.context
        if words[0].startswith("--from="):
            origin = self.stages[words.pop(0).removeprefix("--from=")].root
        if self.stage.root.name == "bundle" and self.bundle:
            return
        *sources, to = words
        target = self.stage.root / (Path(self.stage.directory) / to).relative_to("/")
        dockerignore = (self.context / ".dockerignore").read_text(encoding="utf-8")
        for source in sources:
            found = origin / source.lstrip("/")
            assert origin is not self.context or not ignored(source, dockerignore), f"{source} is ignored"
            if found.is_dir():
                left = shutil.ignore_patterns("__pycache__") if origin is self.context else None
                shutil.copytree(found, target, dirs_exist_ok=True, symlinks=True, ignore=left)
            else:
                into = target / found.name if to.endswith("/") else target
                into.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(found, into)

    def _run(self, rest: str) -> None:
        mounts = re.findall(r"--mount=type=cache,target=(\S+)", rest)
        shell = re.sub(r"--mount=\S+\s*", "", rest)
        network = {k: v for k, v in os.environ.items() if k.startswith(NETWORK)}
        done = subprocess.run(
            self.command(["/bin/sh", "-c", shell], self.stage, caches=mounts, extra=network),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"RUN {shell}\n{done.stdout}\n{done.stderr}"

    def command(
        self,
        words: list[str],
        stage: Stage,
        *,
        caches: list[str] | None = None,
        extra: dict[str, str] | None = None,
        volume: Path | None = None,
        running: bool = False,
    ) -> list[str]:
        """The command that runs `words` in a stage's root, as the user, folder and environment set there.

        `running` is how compose.yaml and the manifests run it: its root read-only, /tmp in memory; here
        also without network, as nothing is to be fetched.
        """
        root, local = stage.root, self.folder / f"{stage.root.name}.local"
        places = [p for p in ("usr", "bin", "sbin", "lib", "lib64") if (SYSTEM / p).exists()]
        binds = [(str(SYSTEM / place), f"/{place}", "ro") for place in places]
        binds += [(str(local), "/usr/local", "rw"), ("/dev", "/dev", "rw")]
        # What tells pip and uv where packages are, wherever tests run.
        found = os.environ.get("PIP_FIND_LINKS", "").split()
        for place in (str(Path.home() / ".config"), *(p for p in found if p.startswith("/"))):
            if extra and Path(place).exists():
                binds.append((place, place, "ro"))
        kept = os.environ.get("UV_CACHE_DIR", str(Path.home() / ".cache" / "uv"))
        binds += [(kept, cache, "rw") for cache in caches or ()]
        if volume:
            binds += [(str(volume), place, "rw") for place in stage.volumes]
        script = ["set -e", f"mount --bind {shlex.quote(str(root))} {shlex.quote(str(root))}"]
        for source, target, mode in binds:
            inside = shlex.quote(f"{root}{target}")
            script += [
                f"mkdir -p {shlex.quote(source)} {inside}",
                f"mount --bind {shlex.quote(source)} {inside}",
            ]
            script += [f"mount -o remount,bind,ro {inside}"] if mode == "ro" else []
        script += [f"mount -t proc proc {shlex.quote(f'{root}/proc')}"]
        script += [f"mount -t tmpfs tmpfs {shlex.quote(f'{root}/dev/shm')}"]
        if running:
            script += ["ip link set lo up", f"mount -t tmpfs tmpfs {shlex.quote(f'{root}/tmp')}"]
            script += [f"mount -o remount,bind,ro {shlex.quote(str(root))}"]
        user, _, group = stage.user.partition(":")
        environment = [f"{k}={v}" for k, v in {**stage.environment, **(extra or {})}.items()]
        inner = [
            "setpriv",
            "--reuid",
            user,
            "--regid",
            group,
            "--clear-groups",
            "env",
            "-C",
            stage.directory,
            "-i",
        ]
        script += [f"exec chroot {shlex.quote(str(root))} {shlex.join([*inner, *environment, *words])}"]
        return ["unshare", "--mount", *(["--net"] if running else []), "sh", "-c", "\n".join(script)]
