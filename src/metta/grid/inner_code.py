# Numba's own compiler parts are not annotated.
# mypy: allow-untyped-calls
"""How rules are compiled: as code for other code, which alone becomes machine code.

Numba makes every function ready to run by itself, with all that it calls. Rules call one another eight deep, so the
same code was optimized and turned into machine code again at each level, and only that of the outermost was ever run.
This took half of the time of a first compile (LOG.md), for the same speed.
"""

from __future__ import annotations

import gc
from typing import Any

from numba.core.codegen import JITCodeLibrary, RuntimeLinker
from numba.core.compiler import Compiler
from numba.core.environment import lookup_environment


class InnerLibrary(JITCodeLibrary):
    """Code that is linked into that of its callers and never run by itself."""

    @property
    def codegen(self) -> _NoEnvironments:
        """See there."""
        return _NoEnvironments()

    def get_pointer_to_function(self, name: str) -> int:
        """Return 0: there is no machine code, as for a function that has no wrapper to be called by."""
        return 0

    def _is_called_by_address(self) -> bool:
        """Whether it is one of functions that call each other in a circle: those need machine code of their own."""
        names = [variable.name for variable in self._final_module.global_variables]
        return any(name.startswith(RuntimeLinker.PREFIX) for name in names)

    def _optimize_final_module(self) -> None:
        """Leave it to whoever calls it: what is inlined there is optimized with all around it."""
        if self._is_called_by_address():
            super()._optimize_final_module()

    def _finalize_final_module(self) -> None:
        if self._is_called_by_address():
            super()._finalize_final_module()
            return
        self._finalize_dynamic_globals()
        self._verify_declare_only_symbols()
        self._finalized = True


class _NoEnvironments:
    """There is no machine code yet that could be told where a function's environment is: see `set_environments`."""

    def set_env(self, name: str, environment: Any) -> None:
        """Do nothing: Numba knows it by its name."""


def set_environments(library: Any) -> None:
    """Tell machine code where the environments of all functions are that became part of it: `print` looks at one.

    Rules of our own need none. Without it a rule of a user's that prints would hang.
    """
    for variable in library._final_module.global_variables:
        if variable.name.startswith("_ZN08NumbaEnv"):
            environment = lookup_environment(variable.name)
            if environment is not None:
                library.codegen.set_env(variable.name, environment)


class QuickCompiler(Compiler):
    """Numba's compiler, without looking for garbage meanwhile: a tenth of its time, for 80 MB."""

    def compile_extra(self, function: Any) -> Any:
        """Compile."""
        is_collecting = gc.isenabled()
        gc.disable()
        try:
            return super().compile_extra(function)
        finally:
            if is_collecting:
                gc.enable()


class RuleCompiler(QuickCompiler):
    """The compiler of rules: what differs is where their code goes."""

    def __init__(self, typing_context: Any, target_context: Any, library: Any, *rest: Any) -> None:
        library = InnerLibrary(target_context.codegen(), "rule") if library is None else library
        super().__init__(typing_context, target_context, library, *rest)
