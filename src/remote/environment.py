"""How a Python environment is set up and entered, by its tool."""
import os


class ToolMissing(Exception):
    pass


class SetupFailed(Exception):
    def __init__(self, message, code):
        super().__init__(message)
        self.message, self.code = message, code


def write_down(home, directory, variables, account):
    """What a shell beside the training needs to find what it finds."""
    from . import files

    value = {"directory": directory, "variables": variables, "user": account.pw_name}
    files.write_json(os.path.join(home, "environment.json"), value, 0o600)


def steps(part, directory, project, work, find):
    """(set-up command lines, prefix of the training's command, variables). `find` looks a program up for the user."""
    kind = part["environment"]["manager"]
    root = os.path.join(work, part["environment"]["root"])
    env = os.path.join(directory, "env")
    if kind == "uv":
        need(find, "uv", "it is one file: https://docs.astral.sh/uv/")
        sync = ["uv", "sync"] + (["--frozen"] if part["environment"]["locked"] else [])
        setup, prefix, variables = [sync], ["uv", "run", "--no-sync"], {}
    elif kind == "poetry":
        need(find, "poetry", "pipx install poetry")
        setup, prefix, variables = [["poetry", "install", "--no-interaction"]], ["poetry", "run"], {}
    elif kind == "conda":
        need(find, "conda", "use an AMI that has it, or set \"train.setup\"")
        setup = [["conda", "env", "create", "--yes", "-p", env, "-f", os.path.join(root, part["environment"]["file"])]]
        prefix, variables = ["conda", "run", "--no-capture-output", "-p", env], {}
    elif kind == "pip":
        need(find, "python3", "install it")
        python = os.path.join(env, "bin", "python")
        setup = [["python3", "-m", "venv", env], [python, "-m", "pip", "install", "--disable-pip-version-check", "-r", os.path.join(root, part["environment"]["file"])]]
        prefix, variables = [], {"VIRTUAL_ENV": env}
    else:
        setup, prefix, variables = [], [], {}
    if part["setup"] is not None:
        setup = part["setup"]
    if part["script"] is not None:
        python = "python" if kind in ("uv", "poetry", "conda", "pip") and (prefix or variables) else "python3"
        command = prefix + [python, os.path.join(project, part["script"])] + part["args"]
    else:
        own = os.path.basename(part["command"][0])
        command = ([] if own == kind else prefix) + part["command"] + part["args"]
    return setup, command, variables


def need(find, tool, how):
    if find(tool) is None:
        raise ToolMissing("%s is not on the PATH of the training's user: %s" % (tool, how))


class Setup:
    def __init__(self, root, home, part, project, work, account, variables):
        self.home, self.part, self.project, self.work, self.account, self.variables = home, part, project, work, account, variables

    def run(self, process, say):
        import shutil
        from . import account as accounts
        setup, command, more = steps(self.part, self.home, self.project, self.work, lambda tool: shutil.which(tool, path=self.variables.get("PATH")))
        if "VIRTUAL_ENV" in more:
            more["PATH"] = os.path.join(more["VIRTUAL_ENV"], "bin") + os.pathsep + self.variables.get("PATH", "")
            env = os.path.join(self.home, "env")
            os.makedirs(env, exist_ok=True)
            accounts.own(env, self.account)
        variables = dict(self.variables, **more)
        for line in setup:
            code = process(line, variables)
            if code:
                raise SetupFailed("%s exited with %d" % (line[0], code), code)
        return command, variables
