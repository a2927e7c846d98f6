"""What the compiled objects say: system calls and banned functions used, mutable data held."""

import json
import os
import re
import subprocess
from typing import NamedTuple

from . import cases
from .rooms import at

# The C library's doors to the system. Only os/ goes through them. (Memory is not among them: the
# C library has its pages from the system whatever we do.)
SYSTEM_CALLS = frozenset("""
    accept accept4 access alarm bind chdir chmod chown chroot clock_gettime clock_nanosleep
    clone close close_range closedir closefrom connect copy_file_range creat daemon dprintf dup dup2
    dup3 epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_wait eventfd execl execle execlp
    execv execve execvp execvpe fallocate fchdir fchmod fchmodat fchown fchownat fcntl fdatasync
    fdopen fdopendir fexecve flock fopen fopencookie fork freopen fstat fstatat fstatfs fstatvfs fsync
    ftruncate ftw futimens getaddrinfo getdents64 getegid getentropy geteuid getgid getgrgid
    getgrgid_r getgrnam getgrnam_r getgroups gethostbyname gethostname getifaddrs getitimer
    getnameinfo getpeername getpid getppid getpriority getpwnam getpwnam_r getpwuid getpwuid_r
    getrandom getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday getuid glob
    inotify_add_watch inotify_init inotify_init1 ioctl isatty kill lchown link linkat listen
    lockf lseek lstat madvise memfd_create mkdir mkdirat mkfifo mknod mkostemp mkstemp
    mlock mmap mount mprotect mremap msync munmap nanosleep nftw open open_by_handle_at openat
    opendir openlog pause pidfd_open pipe pipe2 poll posix_fadvise posix_fallocate posix_spawn
    posix_spawnp ppoll prctl pread preadv process_vm_readv pselect pthread_create pthread_kill
    pthread_sigmask ptrace pwrite pwritev pwritev2 raise read readahead readdir readdir_r readlink
    readlinkat readv realpath recv recvfrom recvmmsg recvmsg remove rename renameat renameat2
    rewinddir rmdir sbrk scandir sched_yield select sem_open sendfile sendmmsg sendmsg sendto send
    setegid seteuid setgid setgroups setitimer setpriority setregid setresgid setresuid setreuid
    setrlimit setsid setsockopt setuid shm_open shutdown sigaction signal signalfd sigprocmask
    sigsuspend sigwait sigwaitinfo sleep socket socketpair splice stat statfs statvfs statx symlink
    symlinkat sync sync_file_range syncfs syscall sysconf sysinfo syslog tcgetattr tcsetattr tee
    time timer_create timerfd_create timerfd_settime times tmpfile truncate ttyname_r umask umount
    uname unlink unlinkat unshare usleep utime utimensat utimes vdprintf vfork vmsplice wait wait3
    wait4 waitid waitpid write writev _exit _Exit
""".split())

# Writing to a stream that is open already.
PRINTING = frozenset("""
    fflush fprintf fputc fputs fwrite perror printf psignal putc putchar puts setvbuf vfprintf
    vprintf stdout stderr
""".split())

# No section of these names may have a size outside os/. What only the loader writes
# (.data.rel.ro: constant tables that hold pointers) is constant.
_MUTABLE = re.compile(r"^(\.data|\.bss|\.tdata|\.tbss|COMMON|\*COM\*)")
_CONSTANT = re.compile(r"^\.data\.rel\.ro")


class Object(NamedTuple):
    source: str  # path of its source
    path: str


def find(root, build):
    """The objects of src/ in a build, by meson's list of compile commands."""
    commands = json.loads((build / "compile_commands.json").read_text())
    for command in commands:
        source = os.path.relpath(os.path.join(command["directory"], command["file"]), root)
        if source.startswith("src/"):
            yield Object(source, os.path.join(command["directory"], command["output"]))


def banned(root):
    """The functions that base/banned.h bans, each with the hint that its macro gives."""
    text = (root / "src/base/banned.h").read_text()
    return {name: hint.replace("_", " ")
            for name, hint in re.findall(r"^#define (\w+) +BANNED_\1_(\w+)", text, re.M)}


def plain_name(symbol):
    """A symbol without its version and without the coats of fortified and old C libraries."""
    name = symbol.partition("@")[0]
    name = re.sub(r"^__isoc\d+_", "", name)
    name = re.sub(r"^__(\w+)_chk$", r"\1", name)
    return re.sub(r"^((?:open|openat|creat|lseek|pread|pwrite|f?truncate|[fl]?stat|statfs|fstatat"
                  r"|fallocate|fopen|readdir|sendfile|mmap|statvfs|fstatvfs|[gs]etrlimit))64$",
                  r"\1", name)


def undefined(path):
    out = subprocess.run(["nm", "-u", path], capture_output=True, text=True, check=True).stdout
    return {plain_name(line.split()[-1]) for line in out.splitlines() if line.strip()}


def mutable(path):
    """Names of the variables in sections that the program can write."""
    out = subprocess.run(["objdump", "-t", path], capture_output=True, text=True, check=True).stdout
    names = []
    for line in out.splitlines():
        # VALUE FLAGS SECTION<tab>SIZE NAME; the flags column holds 7 characters, O for an object.
        match = re.match(r"^[0-9a-f]+ (.{7}) (\S+)\t[0-9a-f]+ +(\S+)", line)
        if not match or match[2] == match[3]:
            continue
        if _MUTABLE.match(match[2]) and not _CONSTANT.match(match[2]):
            names.append(match[3])
    return names


def _problems(obj, table, bans):
    symbols = undefined(obj.path)
    for name in sorted(symbols & bans.keys()):
        yield f"{obj.source}: {name} is banned: {bans[name]}"
    if obj.source.startswith("src/os/"):
        return
    for name in sorted(symbols & SYSTEM_CALLS):
        yield f"{obj.source}: calls {name}: only os/ calls the system"
    if not at(obj.source, table.prints):
        for name in sorted(symbols & PRINTING):
            yield f"{obj.source}: uses {name}: only {' '.join(table.prints)} and os/ print"
    for name in mutable(obj.path):
        yield f"{obj.source}: {name} is mutable global data"


def run(root, table, build):
    """The cases, one a room."""
    bans = banned(root)
    objects = sorted(find(root, build))
    for room in table.allowed:
        problems = [problem for obj in objects if obj.source.startswith(f"src/{room}/")
                    for problem in _problems(obj, table, bans)]
        yield cases.check("objects", f"{room}: no system call, banned function or mutable data",
                          problems)
