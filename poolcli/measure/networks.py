"""How neural network libraries pool: for each, what makes its calls ready, then the table of them."""

from __future__ import annotations

import math
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from poolcli.measure import calls
from poolcli.measure.calls import FLOATS, NAIVE, SLOW, Prepared, exact, in_turn, recursive, rows, touched

if TYPE_CHECKING:
    from collections.abc import Callable

    from poolcli.measure.calls import Array, Call, Rule
    from poolcli.measure.cases import Case

    Pool = Callable[[], object]
    Node = Callable[..., Any]


def _order(case: Case) -> list[int]:
    """Return the axes of *case* as batch, channels, pooled ones."""
    size = case.size
    return sorted(range(len(size.layout)), key=lambda i: (i in size.axes, size.layout[i] == "C"))


def _batch(array: Array, case: Case) -> Array:
    """Return *array* with one axis for the batch, one for the channels and the pooled ones."""
    return array.transpose(_order(case)).reshape(-1, case.size.channels, *case.size.pooled)


def _unbatched(out: Array, case: Case) -> Array:
    """Return *out*, of such axes, with those of *case*."""
    order = _order(case)
    return out.reshape([case.out.shape[i] for i in order]).transpose(np.argsort(order))


# PyTorch

MEMORY = {"contiguous": "contiguous_format", "channels_last": "channels_last"}


class _Torch:
    """Input and output in a memory format, and the calls that pool one into the other."""

    def __init__(self, form: str, array: Array, case: Case) -> None:
        self.torch: Any = import_module("torch")
        self.torch.set_num_threads(case.threads)
        x = _batch(array, case)
        source = self.torch.from_numpy(x)
        like = {"dtype": source.dtype, "memory_format": getattr(self.torch, MEMORY[form])}
        # a view with axes of length 1 has strides that PyTorch takes for another format, and then converts each time
        self.x = self.torch.empty(x.shape, **like).copy_(source)
        self.out = self.torch.empty((*x.shape[:2], *case.plan.out), **like).zero_()
        self.window = case.window
        self.place = (self.window.kernel, self.window.stride, [axis.before for axis in case.plan.axes])

    def largest(self, x: Any = None) -> Pool:
        # the public max_pool2d allocates its result anew each time
        pool = self.torch._C._nn.max_pool2d_with_indices  # noqa: SLF001 -- the only door to out=
        place = (self.x if x is None else x, *self.place, self.window.dilation, self.window.ceil)
        self.indices = self.torch.zeros_like(self.out, dtype=self.torch.int64)
        return partial(pool, *place, out=(self.out, self.indices))

    def mean(self, x: Any = None, divisor: int | None = None) -> Pool:
        pool = self.torch.nn.functional.avg_pool2d
        place = (self.x if x is None else x, *self.place, self.window.ceil, self.window.count_include_pad)
        return partial(pool, *place, divisor, out=self.out)

    def sum(self) -> Pool:
        return self.mean(divisor=1)

    def smallest(self) -> Pool:
        """The largest between two reversals of the order."""
        reverse = self.torch.neg if self.x.is_floating_point() else self.torch.bitwise_not
        reversed_x = self.torch.zeros_like(self.x)
        before, after = partial(reverse, self.x, out=reversed_x), partial(reverse, self.out, out=self.out)
        return in_turn(before, self.largest(reversed_x), after)

    def root_mean(self) -> Pool:
        """Square, mean, root: less work than ``lp_pool2d``, which does the same and more."""
        squares = self.torch.zeros_like(self.x)
        return in_turn(partial(self.torch.mul, self.x, self.x, out=squares), self.mean(squares), self.out.sqrt_)


def _torch(form: str, pool: Callable[[_Torch], Pool], array: Array, case: Case) -> Prepared:
    tensors = _Torch(form, array, case)
    return Prepared(pool(tensors), lambda _: _unbatched(tensors.out.numpy(), case))


def _torch_indices(form: str, array: Array, case: Case) -> Prepared:
    """Make the same call ready, which always finds them; its values are taken from where they stand."""
    tensors = _Torch(form, array, case)

    def values(_: object) -> Array:
        planes, places = (each.contiguous().numpy() for each in (tensors.x, tensors.indices))
        found = np.take_along_axis(planes.reshape(*planes.shape[:2], -1), places.reshape(*places.shape[:2], -1), -1)
        return _unbatched(found.reshape(places.shape), case)

    return Prepared(tensors.largest(), values)


def _torch_rows(form: str, ordered: tuple[str, ...], *rules: Rule) -> tuple[Call, ...]:
    ready = partial(partial, _torch, form)
    extremes = (
        ("max", ordered, "max_pool2d(out=)", ready(_Torch.largest), exact),
        ("min", ordered, "-max_pool2d(-x, out=)", ready(_Torch.smallest), exact),
    )
    means = (
        ("avg", ("float16", *FLOATS), "avg_pool2d(out=)", ready(_Torch.mean), recursive),
        ("sum", FLOATS, "avg_pool2d(divisor_override=1, out=)", ready(_Torch.sum), recursive),
        ("l2", FLOATS, "sqrt(avg_pool2d(x * x, out=))", ready(_Torch.root_mean), recursive),
    )
    indices = ("max", ordered, "max_pool2d(return_indices=True, out=)", partial(_torch_indices, form), exact)
    rules = (*rules, calls.HALF_PADDING)
    shared = {"form": form, "reads": NAIVE}
    return (
        *rows(rules, *extremes, **shared),
        *rows((*rules, calls.UNDILATED), *means, **shared),
        *rows(rules, indices, way="indices", **shared),
    )


# in channels_last a plane's positions are counted in the input's dtype: "Expected input_depth * input_height * ..."
_LAST = ("int32", "int64", "float16", *FLOATS)


def _blocked(name: str, more: Callable[[Case], dict[str, Any]], array: Array, case: Case) -> Prepared:
    """Pool a tensor in the layout that oneDNN chooses; there is no out= for it."""
    torch: Any = import_module("torch")
    torch.set_num_threads(case.threads)
    x = torch.from_numpy(np.ascontiguousarray(_batch(array, case))).to_mkldnn()
    place = (case.window.kernel, case.window.stride, [axis.before for axis in case.plan.axes])
    call = partial(getattr(torch.nn.functional, name), x, *place, **more(case))
    return Prepared(call, lambda out: _unbatched(out.to_dense().numpy(), case))


def _counted(case: Case) -> dict[str, Any]:
    return {"count_include_pad": case.window.divisor == "window"}


_BLOCKED = rows(
    (calls.FLOOR, calls.UNDILATED, calls.HALF_PADDING),
    ("max", ("float32",), "max_pool2d(x.to_mkldnn())", partial(_blocked, "max_pool2d", lambda _: {}), exact),
    ("avg", ("float32",), "avg_pool2d(x.to_mkldnn())", partial(_blocked, "avg_pool2d", _counted), recursive),
    form="mkldnn",
    reads=NAIVE,
)

TORCH = (
    *_torch_rows("contiguous", ("uint8", "int8", "int16", *_LAST)),
    *_torch_rows("channels_last", _LAST, calls.SEVERAL_CHANNELS),
    *_BLOCKED,
)


# onnxruntime


def _onnx(nodes: Callable[[Node, Case, dict[str, Any]], list[Any]], array: Array, case: Case) -> Prepared:
    """Run a model of *nodes* from ``x`` to ``y``, as `onnx.helper.make_node` makes them."""
    onnx, window, axes = import_module("onnx.helper"), case.window, case.plan.axes
    place = {
        "kernel_shape": window.kernel,
        "strides": window.stride,
        "dilations": window.dilation,
        "pads": [*(axis.before for axis in axes), *(axis.after for axis in axes)],
    }
    x = np.ascontiguousarray(_batch(array, case))
    out = touched((*x.shape[:2], *case.plan.out), case.size.dtype)
    kind = onnx.np_dtype_to_tensor_dtype(x.dtype)
    ends = ([onnx.make_tensor_value_info(name, kind, end.shape)] for name, end in (("x", x), ("y", out)))
    graph = onnx.make_graph(nodes(onnx.make_node, case, place), "pooling", *ends)
    model = onnx.make_model(graph, opset_imports=[onnx.make_opsetid("", 21)], ir_version=10)
    return Prepared(_session(model.SerializeToString(), x, out, case.threads), lambda _: _unbatched(out, case))


def _session(model: bytes, x: Array, out: Array, threads: int) -> Pool:
    """Return the run of *model* from *x* into *out*."""
    ort: Any = import_module("onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # its threads would go on spinning into the next contender's call
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    binding.bind_input("x", "cpu", 0, x.dtype.type, x.shape, x.ctypes.data)
    binding.bind_output("y", "cpu", 0, out.dtype.type, out.shape, out.ctypes.data)

    def run() -> object:
        session.run_with_iobinding(binding)
        return x, out  # held, for the binding knows only their addresses

    return run


def _largest(node: Node, _case: Case, place: dict[str, Any]) -> list[Any]:
    return [node("MaxPool", ["x"], ["y"], **place)]


def _smallest(node: Node, _case: Case, place: dict[str, Any]) -> list[Any]:
    pool = node("MaxPool", ["negative"], ["largest"], **place)
    return [node("Neg", ["x"], ["negative"]), pool, node("Neg", ["largest"], ["y"])]


def _mean(node: Node, case: Case, place: dict[str, Any]) -> list[Any]:
    return [node("AveragePool", ["x"], ["y"], count_include_pad=int(case.window.divisor == "window"), **place)]


def _root_mean(node: Node, case: Case, place: dict[str, Any]) -> list[Any]:
    """LpPool is the root of the sum: divide by the root of the count."""
    scale = node("Constant", [], ["scale"], value_float=1 / math.sqrt(case.elements))
    return [node("LpPool", ["x"], ["norm"], p=2, **place), scale, node("Mul", ["norm", "scale"], ["y"])]


_LP = ("l2", ("float32",), "LpPool / sqrt(n)", partial(_onnx, _root_mean), recursive)

ONNXRUNTIME = (
    *rows(
        (calls.FLOOR,),
        ("max", ("uint8", "int8", *FLOATS), "MaxPool", partial(_onnx, _largest), exact),
        ("min", FLOATS, "-MaxPool(-x)", partial(_onnx, _smallest), exact),
        ("avg", ("float32",), "AveragePool", partial(_onnx, _mean), recursive),
        form="NCHW",
        reads=NAIVE,
    ),
    *rows(calls.WITHIN, _LP, form="NCHW", reads=SLOW),
)


# OpenVINO


def _openvino(method: str, array: Array, case: Case) -> Prepared:
    """Run a compiled model of one node into memory that is held."""
    ov, nodes = import_module("openvino"), import_module("openvino.opset13")
    x, axes = np.ascontiguousarray(_batch(array, case)), case.plan.axes
    out = touched((*x.shape[:2], *case.plan.out), case.size.dtype)
    begin, end = ([getattr(axis, side) for axis in axes] for side in ("before", "after"))
    window, source = case.window, nodes.parameter(list(x.shape), x.dtype)
    kernel, stride = list(window.kernel), list(window.stride)
    if method == "max":
        pooled = nodes.max_pool(source, stride, list(window.dilation), begin, end, kernel).output(0)
    else:
        pooled = nodes.avg_pool(source, stride, begin, end, kernel, window.divisor != "window").output(0)
    how = {"INFERENCE_NUM_THREADS": case.threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    run = ov.Core().compile_model(ov.Model([pooled], [source], "pooling"), "CPU", how).create_infer_request()
    run.set_input_tensor(ov.Tensor(x, shared_memory=True))
    run.set_output_tensor(ov.Tensor(out, shared_memory=True))

    def call() -> object:
        run.infer()
        return x  # held, for the tensor knows only its address

    return Prepared(call, lambda _: _unbatched(out, case))


OPENVINO = rows(
    (calls.FLOOR, calls.UNDILATED),
    ("max", ("float32",), "MaxPool", partial(_openvino, "max"), exact),
    ("avg", ("float32",), "AvgPool", partial(_openvino, "avg"), recursive),
    form="NCHW",
    reads=NAIVE,
)
