"""Instructions of LLVM's that Python has no name for, built where kernels call what they are named after."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llvmlite import binding, ir

if TYPE_CHECKING:
    from collections.abc import Sequence

WORD = ir.IntType(64)


def load(builder: Any, words: Any, at: Any) -> Any:
    """As `team.load`."""
    return builder.load_atomic(builder.gep(words, [at]), "acquire", 8)


def store(builder: Any, words: Any, at: Any, value: Any) -> None:
    """As `team.store`."""
    builder.store_atomic(value, builder.gep(words, [at]), "release", 8)


def swapped(builder: Any, words: Any, at: Any, old: Any, new: Any) -> Any:
    """As `team.swapped`."""
    return builder.extract_value(builder.cmpxchg(builder.gep(words, [at]), old, new, "seq_cst", "seq_cst"), 1)


def increase(builder: Any, words: Any, at: Any, by: Any) -> None:
    """As `team.increase`."""
    builder.atomic_rmw("add", builder.gep(words, [at]), by, "seq_cst")


def pause(builder: Any) -> None:
    """As `team.pause`: x86 has it; elsewhere there is none."""
    if binding.get_process_triple().startswith(("x86_64", "i386", "i686")):
        builder.call(
            builder.module.declare_intrinsic("llvm.x86.sse2.pause", (), ir.FunctionType(ir.VoidType(), [])), []
        )


def words_at(builder: Any, address: Any) -> Any:
    """As `team.words_at`."""
    return builder.inttoptr(address, WORD.as_pointer())


def run(builder: Any, address: Any, *arguments: Any) -> None:
    """As `team.run` and `team.run_c`."""
    kind = ir.FunctionType(ir.VoidType(), [WORD] * len(arguments))
    builder.call(builder.inttoptr(address, kind.as_pointer()), arguments)


run_c = run


def fused(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """As `kernels.fused`."""
    return builder.fma(a, b, c)


def add_group(builder: Any, words: Any, to: Any, entering: Any, leaving: Any) -> None:
    """As `histograms.add_group`: four words at once."""
    vector = ir.PointerType(ir.VectorType(WORD, 4))
    here, more, less = (builder.bitcast(builder.gep(words, [at]), vector) for at in (to, entering, leaving))
    now, plus, minus = (builder.load(at, align=8) for at in (here, more, less))
    builder.store(builder.sub(builder.add(now, plus), minus), here, align=8)


def values(builder: Any, words: Any, kinds: Sequence[Any]) -> list[Any]:
    """Build the values of *kinds* that stand in memory, each where a word begins."""
    places = [builder.gep(words, [WORD(i)]) for i in range(len(kinds))]
    return [builder.load(builder.bitcast(at, kind.as_pointer())) for at, kind in zip(places, kinds, strict=True)]
