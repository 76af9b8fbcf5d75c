"""Machine code: object files made of LLVM's text and called again without Numba.

Importing llvmlite takes 0.06 s and 50 MB, Numba with its first kernel 0.7 s and 160 MB. llvmlite is Numba's own
dependency; only its documented binding layer is used.
"""

from __future__ import annotations

from ctypes import CFUNCTYPE
from functools import cache as cached
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import llvmlite.binding as llvm

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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


def add_words(builder: Any, words: Any, to: Any, entering: Any, leaving: Any) -> Any:
    """Build: four 64-bit words at *to* become more by those at *entering* and less by those at *leaving*."""
    from llvmlite import ir

    vector = ir.PointerType(ir.VectorType(ir.IntType(64), 4))
    here, more, less = (builder.bitcast(builder.gep(words, [at]), vector) for at in (to, entering, leaving))
    now, plus, minus = (builder.load(at, align=8) for at in (here, more, less))
    builder.store(builder.sub(builder.add(now, plus), minus), here, align=8)
    return ir.Constant(ir.IntType(8).as_pointer(), None)


def load(code: bytes, symbol: str, arguments: Sequence[Any]) -> Callable[..., None]:
    """Return function *symbol* of an object file, which takes ctypes *arguments*, returns nothing and frees the GIL.

    Raises
    ------
    ImportError
        It is not in there.
    """
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _target())
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    address = engine.get_function_address(symbol)
    if not address:
        raise ImportError(f"no {symbol} in the object file")
    _engines.append(engine)
    return CFUNCTYPE(None, *arguments)(address)
