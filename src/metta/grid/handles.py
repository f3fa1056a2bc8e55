# Numba's own compiler parts are not annotated.
# mypy: allow-untyped-calls, disable-error-code="override"
"""How compiled rules see `Rules`, `State` and `Buffers`: each as one address instead of hundreds of numbers.

A named tuple of arrays is passed by value in Numba: forty arrays are four hundred arguments of every call, and every
call of every rule builds them anew. Here a tuple becomes a `Handle`: the address of a small table that holds, for each
field, where its data lies, how far apart its rows are, and its shape. `state.agents` loads from that table, and
`state.agents[e, a, f]` is a plain load or store: no reference counts, no negative indices. Different fields never
overlap, and the compiler is told so (alias scopes), which lets it keep values in registers across stores. This turned
70 s of compiling into 14 s. Rows may be no distance apart: then all worlds read one row, which stays in the nearest
cache (`compile.one_row_for_all`).

The rules themselves know nothing of this: with the JIT off they get the tuples. On a GPU the tables and the arrays lie
in its memory (cuda/), and the same code is made for it.
"""

from __future__ import annotations

import operator
import weakref
from collections.abc import Iterable
from math import prod
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.extending import (
    NativeValue,
    intrinsic,
    lower_builtin,
    lower_getattr_generic,
    models,
    register_model,
    unbox,
)
from numba.core.imputils import impl_ret_untracked
from numba.core.typing.templates import AbstractTemplate, AttributeTemplate, infer_getattr, infer_global, signature
from numba.np.numpy_support import from_dtype
from numpy.typing import NDArray

Field = tuple[str, str, int]  # name, dtype, number of dimensions

_layouts: dict[str, tuple[Field, ...]] = {}  # of each kind of table, known once the first one was bound
_word = ir.IntType(64)


class TableType(types.Type):
    """The Numba type of a handle; `kind` is the name of the tuple's class."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        super().__init__(name=f"Table{kind}")


class FieldType(types.Type):
    """The Numba type of one array of a table."""

    def __init__(self, field: str, dtype: types.Type, ndim: int) -> None:
        self.field = field
        self.dtype = dtype
        self.ndim = ndim
        super().__init__(name=f"Field_{field}_{dtype}_{ndim}")


class Handle:
    """A table in memory; it lives as long as somebody holds it, the arrays must be kept by the caller."""

    def __init__(self, kind: str, arrays: dict[str, NDArray[Any]]) -> None:
        declare(kind, arrays)
        self.table = table_of((address_of(array), rows_apart(array), array.shape) for array in arrays.values())
        self.address = int(self.table.ctypes.data)
        self._numba_type_ = _table_type(kind)


def declare(kind: str, arrays: dict[str, NDArray[Any]]) -> None:
    """Remember what tables of a kind hold: the names, types and numbers of dimensions of these arrays."""
    layout = tuple((name, array.dtype.str, array.ndim) for name, array in arrays.items())
    assert _layouts.setdefault(kind, layout) == layout


def table_of(fields: Iterable[tuple[int, int, tuple[int, ...]]]) -> NDArray[np.int64]:
    """Return the table of arrays by their address, the items from one row to the next, and their shape."""
    return np.array([number for address, apart, shape in fields for number in (address, apart, *shape)], np.int64)


def address_of(array: NDArray[Any]) -> int:
    """Return where an array's first item lies."""
    address: int = array.__array_interface__["data"][0]
    return address


def rows_apart(array: NDArray[Any]) -> int:
    """Return the items from one row of an array [E, ...] to the next; 0: all E rows are one. A row is contiguous."""
    if array.flags.c_contiguous:
        return prod(array.shape[1:])
    assert array.strides[0] == 0 and array[0].flags.c_contiguous
    return 0


def flattened(arrays: Any, *, flat: dict[str, int]) -> dict[str, NDArray[Any]]:
    """Return the arrays of a named tuple by name; those in `flat` with that many dimensions, the last seen as one."""
    return {
        name: array.reshape(*array.shape[: flat[name] - 1], -1) if name in flat else array
        for name, array in zip(arrays._fields, arrays, strict=True)
    }


def _table_type(kind: str) -> TableType:
    if kind not in _table_types:
        _table_types[kind] = TableType(kind)
    return _table_types[kind]


_table_types: dict[str, TableType] = {}
_handles: dict[tuple[int, ...], Handle] = {}
_watches: dict[tuple[int, ...], list[weakref.ref[Any]]] = {}


def handle_of(arrays: Any, *, flat: dict[str, int]) -> Handle:
    """Return the handle of a named tuple of contiguous arrays, the same one as long as it holds the same arrays.

    `flat`: fields whose last dimensions are seen as one, and the number of dimensions that are left. A handle is
    forgotten as soon as one of its arrays is gone, so a known set of identities means these very arrays.
    """
    key = tuple(map(id, arrays))
    known = _handles.get(key)
    if known is not None:
        return known

    def forget(_: Any) -> None:
        _handles.pop(key, None)
        _watches.pop(key, None)

    fields = flattened(arrays, flat=flat)
    _watches[key] = [weakref.ref(array, forget) for array in arrays]
    handle = _handles[key] = Handle(type(arrays).__name__, fields)
    return handle


@register_model(TableType)
class TableModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: TableType) -> None:
        super().__init__(dmm, fe_type, _word)


@register_model(FieldType)
class FieldModel(models.StructModel):
    def __init__(self, dmm: Any, fe_type: FieldType) -> None:
        members = [("data", types.intp), ("apart", types.intp), ("shape", types.UniTuple(types.intp, fe_type.ndim))]
        super().__init__(dmm, fe_type, members)


@unbox(TableType)
def _unbox_table(typ: TableType, obj: Any, c: Any) -> NativeValue:
    address = c.pyapi.object_getattr_string(obj, "address")
    value = c.pyapi.long_as_longlong(address)
    c.pyapi.decref(address)
    return NativeValue(value, is_error=cgutils.is_not_null(c.builder, c.pyapi.err_occurred()))


def _table_at(kind: str) -> Any:
    @intrinsic
    def table_at(typing_context: Any, address: Any) -> Any:
        return _table_type(kind)(types.int64), lambda context, builder, signature, args: args[0]

    return table_at


# The tables whose handles lie at these addresses
rules_at = _table_at("Rules")
state_at = _table_at("State")
buffers_at = _table_at("Buffers")
episodes_at = _table_at("Episodes")


@infer_getattr
class _TableAttributes(AttributeTemplate):
    key = TableType

    def generic_resolve(self, typ: TableType, attr: str) -> FieldType | None:
        for name, dtype, ndim in _layouts[typ.kind]:
            if name == attr:
                return FieldType(name, from_dtype(np.dtype(dtype)), ndim)
        return None


@lower_getattr_generic(TableType)
def _get_field(context: Any, builder: Any, typ: TableType, value: Any, attr: str) -> Any:
    at = 0
    for name, _, ndim in _layouts[typ.kind]:
        if name == attr:
            break
        at += 2 + ndim
    field_type = _TableAttributes(context.typing_context).generic_resolve(typ, attr)
    pointer = builder.inttoptr(value, _word.as_pointer())
    field = cgutils.create_struct_proxy(field_type)(context, builder)
    words = [_load_constant(builder, pointer, at + i) for i in range(2 + ndim)]
    field.data, field.apart = words[:2]
    field.shape = cgutils.pack_array(builder, words[2:])
    return field._getvalue()


def _load_constant(builder: Any, pointer: Any, index: int) -> Any:
    """Load a word of a table; tables do not change while a kernel runs, so the compiler may move the load at will."""
    load = builder.load(builder.gep(pointer, [ir.Constant(ir.IntType(32), index)]))
    load.set_metadata("invariant.load", builder.module.add_metadata([]))
    return load


@infer_getattr
class _FieldAttributes(AttributeTemplate):
    key = FieldType

    def resolve_shape(self, typ: FieldType) -> types.UniTuple:
        return types.UniTuple(types.intp, typ.ndim)


@lower_getattr_generic(FieldType)
def _get_shape(context: Any, builder: Any, typ: FieldType, value: Any, attr: str) -> Any:
    assert attr == "shape"
    return cgutils.create_struct_proxy(typ)(context, builder, value=value).shape


@infer_global(operator.getitem)
class _FieldGetItem(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        field, index = args
        if isinstance(field, FieldType) and _is_index(field, index):
            return signature(_value_type(field), field, index)
        return None


@infer_global(operator.setitem)
class _FieldSetItem(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        field, index, value = args
        if isinstance(field, FieldType) and _is_index(field, index):
            return signature(types.none, field, index, value)
        return None


def _value_type(field: FieldType) -> types.Type:
    """Return the type of a loaded item: every integer is an int64, as every integer of plain Python is an int."""
    return types.int64 if isinstance(field.dtype, types.Integer) else field.dtype


def _is_index(field: FieldType, index: Any) -> bool:
    if isinstance(index, types.Integer):
        return field.ndim == 1
    return isinstance(index, types.BaseTuple) and len(index) == field.ndim


@lower_builtin(operator.getitem, FieldType, types.Integer)
@lower_builtin(operator.getitem, FieldType, types.BaseTuple)
def _get_item(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    field_type, index_type = sig.args
    pointer = _item_pointer(context, builder, field_type, args[0], index_type, args[1])
    load = builder.load(pointer)
    _mark(builder, load, field_type)
    value = context.data_model_manager[field_type.dtype].from_data(builder, load)
    value = context.cast(builder, value, field_type.dtype, sig.return_type)
    return impl_ret_untracked(context, builder, sig.return_type, value)


@lower_builtin(operator.setitem, FieldType, types.Integer, types.Any)
@lower_builtin(operator.setitem, FieldType, types.BaseTuple, types.Any)
def _set_item(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    field_type, index_type, value_type = sig.args
    value = context.cast(builder, args[2], value_type, field_type.dtype)
    pointer = _item_pointer(context, builder, field_type, args[0], index_type, args[1])
    data = context.data_model_manager[field_type.dtype].as_data(builder, value)
    _mark(builder, builder.store(data, pointer), field_type)
    return context.get_dummy_value()


def _item_pointer(context: Any, builder: Any, typ: FieldType, value: Any, index_type: Any, index: Any) -> Any:
    """Return the address of an item of an array whose rows are contiguous; indices are trusted."""
    field = cgutils.create_struct_proxy(typ)(context, builder, value=value)
    shape = cgutils.unpack_tuple(builder, field.shape, typ.ndim)
    if not isinstance(index_type, types.Integer):
        items = cgutils.unpack_tuple(builder, index, typ.ndim)
        pairs = [(item, index_type[i]) for i, item in enumerate(items)]
    else:
        pairs = [(index, index_type)]
    indices = [context.cast(builder, item, item_type, types.intp) for item, item_type in pairs]
    offset = builder.mul(indices[0], field.apart, flags=("nsw",))
    if indices[1:]:
        within = indices[1]
        for size, item in zip(shape[2:], indices[2:], strict=True):
            within = builder.add(builder.mul(within, size, flags=("nsw",)), item, flags=("nsw",))
        offset = builder.add(offset, within, flags=("nsw",))
    base = builder.inttoptr(field.data, context.get_data_type(typ.dtype).as_pointer())
    return builder.gep(base, [offset], inbounds=True)


@intrinsic
def load_word(typing_context: Any, field: Any, e: Any, i: Any, at: Any) -> Any:
    """Return bytes `field[e, i, at : at + 8]` as one little-endian int64; rows and `at` are multiples of 8."""
    sig = types.int64(field, types.int64, types.int64, types.int64)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        load = builder.load(_word_pointer(context, builder, signature, args))
        load.align = 8  # a GPU would load byte by byte otherwise
        _mark(builder, load, signature.args[0])
        return load

    return sig, generate


@intrinsic
def store_word(typing_context: Any, field: Any, e: Any, i: Any, at: Any, word: Any) -> Any:
    """Write a little-endian int64 to bytes `field[e, i, at : at + 8]`."""
    sig = types.void(field, types.int64, types.int64, types.int64, types.int64)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        store = builder.store(args[4], _word_pointer(context, builder, signature, args))
        store.align = 1  # on a GPU: byte by byte
        _mark(builder, store, signature.args[0])
        return context.get_dummy_value()

    return sig, generate


@intrinsic
def trailing_zeros(typing_context: Any, bits: Any) -> Any:
    """Return the number of the lowest bit that is set; the argument is not 0."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), generate


@intrinsic
def prefetch(typing_context: Any, field: Any, index: Any) -> Any:
    """Ask for the cache line of an item, which will be needed soon."""
    sig = types.void(field, index)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _item_pointer(context, builder, signature.args[0], args[0], signature.args[1], args[1])
        byte_pointer, flag = ir.IntType(8).as_pointer(), ir.IntType(32)
        function_type = ir.FunctionType(ir.VoidType(), [byte_pointer, flag, flag, flag])
        function = builder.module.declare_intrinsic("llvm.prefetch", (byte_pointer,), function_type)
        constants = [ir.Constant(flag, number) for number in (0, 3, 1)]  # to read, keep in all caches, data
        builder.call(function, [builder.bitcast(pointer, byte_pointer), *constants])
        return context.get_dummy_value()

    return sig, generate


def _word_pointer(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    index_type = types.UniTuple(types.int64, 3)
    index = cgutils.pack_array(builder, args[1:4])
    pointer = _item_pointer(context, builder, sig.args[0], args[0], index_type, index)
    return builder.bitcast(pointer, _word.as_pointer())


def _mark(builder: Any, instruction: Any, typ: FieldType) -> None:
    """Say which field a load or store touches: it cannot be any other field."""
    module = builder.module
    domain = module.add_metadata(["metta.grid"])
    scopes = {name: module.add_metadata([name, domain]) for name in _field_names()}
    instruction.set_metadata("alias.scope", module.add_metadata([scopes[typ.field]]))
    others = [scope for name, scope in scopes.items() if name != typ.field]
    if others:
        instruction.set_metadata("noalias", module.add_metadata(others))


def _field_names() -> list[str]:
    return sorted({name for layout in _layouts.values() for name, _, _ in layout})
