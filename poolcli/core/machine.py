"""Machine code: object files made of LLVM's text and called again without Numba.

Importing llvmlite takes 0.06 s and 50 MB, Numba with its first kernel 0.7 s and 160 MB. llvmlite is Numba's own
dependency; only its documented binding layer is used.
"""

from __future__ import annotations

from functools import cache as cached
from hashlib import sha256
from typing import Any

import llvmlite.binding as llvm

MATHS = {"sqrt", "sqrtf", "rint", "rintf"}  # of the C library; LLVM has instructions for them

_engines: list[Any] = []  # code lives as long as its engine


@cached
def _host() -> tuple[str, str]:
    """Return the name and the features of this processor."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()


def host() -> str:
    """Return what object files for this processor are told by."""
    return sha256(" ".join(_host()).encode()).hexdigest()[:12]


def _target() -> Any:
    cpu, features = _host()
    target = llvm.Target.from_default_triple()
    return target.create_target_machine(cpu=cpu, features=features, opt=3, reloc="pic", codemodel="small", jit=True)


def emit(text: str, symbol: str) -> bytes:
    """Return the object file of a module's optimised LLVM text, of which only function *symbol* is called.

    Raises
    ------
    ImportError
        It would call functions that only Numba's process has: LLVM would leave out even those of the C library.
    """
    module, target = llvm.parse_assembly(text), _target()
    for function in module.functions:
        if not function.is_declaration and function.name != symbol:
            function.linkage = "internal"
    passes = llvm.create_new_module_pass_manager()
    passes.add_ipsccp_pass()  # what never fails needs no way to say so
    passes.add_global_dead_code_eliminate_pass()
    passes.run(module, llvm.create_pass_builder(target, llvm.create_pipeline_tuning_options()))
    wanted = {one.name for one in module.functions if one.is_declaration and not one.name.startswith("llvm.")}
    if foreign := wanted - MATHS:
        raise ImportError(f"kernels must not call {', '.join(sorted(foreign))}")
    code: bytes = target.emit_object(module)
    return code


def load(code: bytes, symbol: str) -> int:
    """Return the address of function *symbol* of an object file.

    Raises
    ------
    ImportError
        It is not in there.
    """
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _target())
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    address: int = engine.get_function_address(symbol)
    if not address:
        raise ImportError(f"no {symbol} in the object file")
    _engines.append(engine)
    return address
