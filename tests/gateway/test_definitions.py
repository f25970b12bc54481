"""How nodes are written."""

from pathlib import Path

import pytest

from jsonrpcs_tx.client.targets import parse_target
from jsonrpcs_tx.errors import NotAllowed, SettingError, StartError, without_passwords
from jsonrpcs_tx.gateway.definitions import MAX_NODES, Definition, Names, read_definition
from jsonrpcs_tx.gateway.nodefile import read_node_file
from jsonrpcs_tx.problems import AllProblems


def absolute(path: str) -> str:
    return path if path.startswith("/") else f"/run/{path}"


def test_all_options(tmp_path: Path) -> None:
    """A node has its name, target, groups, limits and secrets."""
    password = tmp_path / "password"
    password.write_bytes(b"pa ss:w@rd\r\nsecond line")
    text = f"e=http://10.0.0.7:5061/RPC group=a  group=b timeout=2.5 cache=1 user=gw password_file={password}"
    found = read_definition(text, absolute)
    assert (found.name, found.groups, found.timeout, found.cache) == ("e", ("a", "b"), 2.5, 1.0)
    assert (found.target.user, found.target.password) == ("gw", "pa ss:w@rd")
    assert "w@rd" not in repr(found.target)
    plain = read_definition("e=unix:x.sock", absolute)
    assert (plain.groups, plain.timeout, plain.cache) == ((), None, 0.0)


def test_changed_file_is_another_node(tmp_path: Path) -> None:
    """A node whose password has been replaced is not what it was; one whose file is the same is."""
    password = tmp_path / "password"
    password.write_text("one")
    text = f"e=http://10.0.0.7/RPC user=gw password_file={password}"
    first = read_definition(text, absolute)
    assert read_definition(text, absolute) == first
    password.write_text("another")
    assert read_definition(text, absolute) != first


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "there is no ="),
        ("edge1", "there is no ="),
        ("=unix:/x", "the name is not allowed"),
        ("a/b=unix:/x", "the name a/b is not allowed"),
        ("a#b=unix:/x", "the name a#b is not allowed"),
        ("*=unix:/x", r"the name \* is not allowed"),
        ("..=unix:/x", r"the name .. is not allowed"),
        ("a,b=unix:/x", "the name a,b is not allowed"),
        ("é=unix:/x", "the name é is not allowed"),
        ("x" * 65 + "=unix:/x", "the name x+ is not allowed"),
        ("e=/x", "it has no scheme"),
        ("e=foo:/x", "unknown scheme 'foo'"),
        ("e=unix:/x timeout=0", "timeout: 0;"),
        ("e=unix:/x timeout=1e3", "timeout: 1e3;"),
        ("e=unix:/x timeout=nan", "timeout: nan;"),
        ("e=unix:/x timeout=99999", "timeout: 99999;"),
        ("e=unix:/x cache=-1", "cache: -1;"),
        ("e=unix:/x colour=red", "colour: no such option"),
        ("e=unix:/x group=", "group: no value"),
        ("e=unix:/x timeout=1 timeout=2", "timeout: it is given twice"),
        ("e=unix:/x group=a*b", r"the group a\*b is not allowed"),
        ("e=unix:/x group=a,b", "the group a,b is not allowed"),
        ("e=unix:/x gruop=a", "gruop: no such option; did you mean group="),
        ("e=unix:/x edge", "edge: no such option"),
        ("e=http://h/RPC edge", "word 2: no such option"),
        ("e=unix:/x group=a # mine", "a # behind the node; allowed: a comment on a line of its own"),
        ("e=unix:/x #mine", "a # behind the node"),
        ("e=unix:/x #group=a", "a # behind the node"),
        ("e=unix:/x // mine", "//: no such option"),
        ("e=unix:/x \\", r"\\: no such option"),
        ("e=unix:/x group=a\u200b", "the group a\u200b is not allowed"),
        ("e=http://h/RPC user=gw", "user: there is no password_file"),
        ("e=http://h/RPC password_file=/dev/zero", "password_file: there is no user"),
        ("e=unix:/x group=e", "the group e has the name of a node"),
        ("e=unix:/x user=gw", "it does not take user"),
        ("e=http://h/RPC user=gw password_file=/nowhere/at/all", "password_file: /nowhere/at/all: No such file"),
        ("e=http://h/RPC user=gw password_file=/dev/zero", "password_file: /dev/zero: not a regular file"),
        ("e=https://h/RPC tls_ca=/etc/hostname", "/etc/hostname: it has no certificate in PEM"),
    ],
)
def test_refused(text: str, reason: str) -> None:
    """An invalid node is refused, with what is wrong and what is allowed."""
    with pytest.raises(NotAllowed, match=reason) as refusal:
        Names().take(read_definition(text, absolute))
    assert "allowed: " in str(refusal.value)


@pytest.mark.parametrize(
    "text",
    [
        "https://gw:hunter2@h/RPC",
        "e=https://gw:hunter2@h/RPC colour=red",
        "e=ftp://gw:hunter2@h/RPC",
        "e=https://gw:hunter2@h:0/RPC",
        "e=https://gw:hunter2@h/RPC#x",
        "e=https://gw:=hunter2@h:x/RPC",
        "e=https://gw:a@b/hunter2@h/RPC timeout=x",
        "https://gw:hunter2=@h/RPC",
        "e=https://gw:a hunter2@h/RPC",
        "e=https://gw:a hunter2 b@h/RPC",
        "e=https://gw:a #hunter2 b@h/RPC",
        "e=unix:/x,https://gw:hunter2@h/RPC group=*",
    ],
)
def test_no_password_in_messages(text: str) -> None:
    """No message about a node shows the password in its URL, and neither does what shows the setting."""
    with pytest.raises(NotAllowed) as refusal:
        read_definition(text, absolute)
    assert "hunter2" not in str(refusal.value)
    error = SettingError("node", text, str(refusal.value))
    assert "hunter2" not in str(error)
    assert "hunter2" not in without_passwords(text)


@pytest.mark.parametrize("content", [b"", b"\nsecond", b"x" * 2000])
def test_password_file_is_not_shown(tmp_path: Path, content: bytes) -> None:
    """A file that holds no password is refused, and nothing of it is shown."""
    file = tmp_path / "password"
    file.write_bytes(content)
    with pytest.raises(NotAllowed, match="it is empty or too large") as refusal:
        read_definition(f"e=http://h/RPC user=gw password_file={file}", absolute)
    assert "second" not in str(refusal.value)
    assert "xx" not in str(refusal.value)


@pytest.mark.parametrize(
    "option",
    [
        "password_file=/etc/shadow",
        "tls_ca=/etc/shadow",
        "tls_certificate=/x",
        "tls_private_key=/x",
        "user=gw",
        "reply_dir=/",
    ],
)
def test_calls_name_no_files(option: str) -> None:
    """Who adds a node with a call cannot have the server read a file, nor give it a password."""
    with pytest.raises(NotAllowed, match="a call cannot give it"):
        read_definition(f"e=https://h/RPC {option}", None)
    with pytest.raises(NotAllowed, match="a call cannot give a user and a password"):
        read_definition("e=https://gw:hunter2@h/RPC", None)
    assert read_definition("e=https://h/RPC group=a timeout=1 cache=2", None).groups == ("a",)


def test_names_mean_one_thing() -> None:
    """A name is that of one node or of a group."""
    names = Names([read_definition("a=unix:/a group=g", absolute)])
    for text in ("a=unix:/b", "g=unix:/b", "b=unix:/b group=a"):
        with pytest.raises(NotAllowed):
            names.take(read_definition(text, absolute))
    names.take(read_definition("b=unix:/b group=g", absolute))


def test_file(tmp_path: Path) -> None:
    """A file has a node on each line; each bad line is told with its number, and nothing of it is lost."""
    file = tmp_path / "nodes"
    file.write_bytes(b"# edges\n\na=unix:/a group=g\n  b=udp:10.0.0.1:8090  \nc=nowhere\n\xff=unix:/x\nd\n")
    problems = AllProblems()
    found = read_node_file(str(file), absolute, problems)
    assert [(one.name, line) for one, line in found] == [("a", 3), ("b", 4)]
    assert [(one.file, one.line) for one in problems.found] == [(str(file), 5), (str(file), 6), (str(file), 7)]
    with pytest.raises(StartError, match=r"node_file: .*line 5: target 'nowhere'"):
        read_node_file(str(file), absolute)
    with pytest.raises(StartError, match="No such file"):
        read_node_file(str(tmp_path / "missing"), absolute)
    with pytest.raises(StartError, match="not a regular file"):
        read_node_file("/dev/null", absolute)
    file.write_bytes(b"#" * 1_048_577)
    with pytest.raises(StartError, match="it is too large"):
        read_node_file(str(file), absolute)


def test_most_nodes() -> None:
    """There is a bound on the number of nodes; an error says which, and the nodes before stay as they are."""
    names = Names()
    for number in range(MAX_NODES):
        names.take(Definition(f"n{number}", parse_target("unix:/x")))
    with pytest.raises(NotAllowed, match="there are already 10000 nodes; allowed: up to 10000 nodes"):
        names.take(Definition("more", parse_target("unix:/x")))
