"""`metta local eval-service`: starts a service on this machine."""

from __future__ import annotations

if __name__ == "__main__":
    from metta.tools.command import become_command

    become_command("local")

from metta.errors import ServiceError
from metta.eval.eval_service.config import EvalServiceConfig
from metta.tools.tool import Tool

EXTRA = "fastapi", "uvicorn", "sqlalchemy", "httpx"  # of `metta[service]`


class EvalServiceTool(EvalServiceConfig, Tool):
    """Takes requests for evaluations over HTTP, plays them, and keeps every result; docs/eval-service.md."""

    def run_tool(self, *, as_json: bool = False) -> int:
        """Serve until interrupted. Raises ServiceError when it cannot be started."""
        try:
            from metta.eval.eval_service.serve import serve
        except ModuleNotFoundError as error:
            raise missing_extra("the evaluation service", error) from error
        return serve(self)


def missing_extra(what: str, error: ModuleNotFoundError) -> Exception:
    """Return the error for a library that is not installed; one of ours is no user's mistake."""
    if (error.name or "").partition(".")[0] not in EXTRA:
        return error
    return ServiceError(f"{what} needs {error.name}, of an extra: pip install 'metta[service]'")
