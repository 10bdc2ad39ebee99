"""Full names of Python's calls that matter: what runs a command or text, reads data that can run code, or sends SQL."""

from __future__ import annotations

SHELLS = frozenset(
    "os.system os.popen subprocess.getoutput subprocess.getstatusoutput commands.getoutput asyncio.create_subprocess_shell pexpect.run pexpect.spawn fabric.Connection().run "
    "fabric.Connection().sudo fabric.Connection().local fabric.api.run fabric.api.sudo fabric.api.local invoke.run".split()
)
"""Their first argument is a command line."""
REMOTE_SHELLS = ("exec_command", "exec_run")
"""Methods that run a command line on another machine or in a container."""
RUNS = frozenset(
    "subprocess.run subprocess.call subprocess.Popen subprocess.check_call subprocess.check_output".split()
)
STARTS = ("os.exec", "os.spawn", "os.posix_spawn", "asyncio.create_subprocess_exec")
"""They take a program's words, which may be a shell's with `-c`."""
EVALUATES = frozenset("eval exec".split())
EVALUATES_SOURCE = frozenset(
    "code.InteractiveInterpreter().runsource code.InteractiveInterpreter().runcode code.InteractiveConsole().push code.InteractiveConsole().runsource".split()
)
LOADS = frozenset(
    "pickle.load pickle.loads pickle.Unpickler cPickle.load cPickle.loads _pickle.load _pickle.loads pickle5.load pickle5.loads dill.load dill.loads dill.load_session "
    "cloudpickle.load cloudpickle.loads marshal.load marshal.loads shelve.open jsonpickle.decode jsonpickle.loads joblib.load sklearn.externals.joblib.load "
    "pandas.read_pickle yaml.unsafe_load yaml.full_load yaml.unsafe_load_all yaml.full_load_all".split()
)
YAML_LOADS = frozenset("yaml.load yaml.load_all ruamel.yaml.load".split())
REQUESTS = frozenset("get post put patch delete head request ws_connect TCPConnector fetch".split())
SENDS_SQL = frozenset(
    "execute executemany executescript execute_async raw read_sql read_sql_query read_gbq mogrify fetch fetchrow fetchval fetch_all fetch_one fetch_val sql query "
    "exec_driver_sql execute_query select_all run_query".split()
)
TEXT_OF_SQL = frozenset(
    "text sqlalchemy.text sqlalchemy.sql.text sqlalchemy.sql.expression.text sa.text db.text".split()
)
READS_VARIABLE = (
    "os.getenv",
    "os.environ.get",
    "os.environ.setdefault",
    "environ.get",
    "config",
    "decouple.config",
    "env",
)
"""A variable's name, then what is taken without it."""
TAKES_PASSWORD = ("login", "HTTPBasicAuth", "BasicAuth", "HTTPDigestAuth", "basic_auth", "HttpNtlmAuth")
"""A user, then a password."""
NAMES_KEY_OF_ITS_OWN = frozenset(
    "key_filename keyfile key_file pkey identity_file ssh_keyfile ssh_key ssh_private_key client_keys config_file kubeconfig ssh_pkey".split()
)
"""Arguments by which a client is told of its key, which is not read for another purpose."""
SAYS = (
    "print",
    "help",
    "warn",
    "info",
    "debug",
    "error",
    "warning",
    "exception",
    "critical",
    "add_argument",
    "echo",
    "secho",
)
JOINS_PATHS = frozenset("join joinpath Path PurePath expanduser".split())
