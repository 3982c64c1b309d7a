"""Products of small matrices with columns that lie side by side, LANES at a time, in the processor's vector registers.

The compiler does not find these vectors by itself: it cannot know that what is written lies elsewhere than what is
read, nor that numbers P apart are to be sorted. So the operations are spelled out for it, for each number of nodes P;
the loops over nodes below run when the code is made. All arrays are flat.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from limitpde.compiled import compiled

LANES = 8
"""Columns of a product, numbers of a vector: one register of 512 bits, or two or four smaller ones."""
FLAGS = ("contract",)


class _Code:
    """Writes vector code for the arguments of one call."""

    def __init__(self, context: Any, builder: Any, signature: Any, arguments: Sequence[Any]) -> None:
        self._builder, self._arguments = builder, arguments
        self._data = {
            n: context.make_array(kind)(context, builder, arguments[n]).data
            for n, kind in enumerate(signature.args)
            if isinstance(kind, types.Array)
        }

    def offset(self, n: int, *terms: int | tuple[int, int]) -> Any:
        """Argument n, plus numbers, plus multiples (m, k) of other arguments: k times argument m."""
        total = self._arguments[n]
        for term in terms:
            if isinstance(term, tuple):
                other = self._arguments[term[0]]
                step = self._builder.mul(other, ir.Constant(other.type, term[1]))
            else:
                step = ir.Constant(total.type, term)
            total = self._builder.add(total, step)
        return total

    def load(self, array: int, offset: Any, length: int = LANES) -> Any:
        """Numbers of an array from an offset on."""
        return self._builder.load(self._place(array, offset, length), align=8)

    def store(self, value: Any, array: int, offset: Any) -> None:
        """Put a vector into an array."""
        self._builder.store(value, self._place(array, offset, value.type.count), align=8)

    def spread(self, array: int, offset: Any) -> Any:
        """A vector of one number."""
        number = self._builder.load(self._builder.gep(self._data[array], [offset]))
        whole = ir.Constant(ir.VectorType(number.type, LANES), ir.Undefined)
        return self.pick(self._builder.insert_element(whole, number, ir.IntType(32)(0)), [0] * LANES)

    def pick(self, value: Any, places: Sequence[int], other: Any = None) -> Any:
        """Numbers at some places of a vector, or of two, one behind the other."""
        mask = ir.Constant(ir.VectorType(ir.IntType(32), len(places)), list(places))
        return self._builder.shuffle_vector(
            value, ir.Constant(value.type, ir.Undefined) if other is None else other, mask
        )

    def join(self, values: Sequence[Any]) -> Any:
        """Vectors one behind the other, filled up to a power of two of them."""
        values = list(values)
        while len(values) > 1:
            if len(values) % 2:
                values.append(ir.Constant(values[0].type, ir.Undefined))
            both = range(2 * values[0].type.count)
            values = [self.pick(a, both, b) for a, b in zip(values[::2], values[1::2], strict=True)]
        return values[0]

    def dot(self, factors: Sequence[Any], vectors: Sequence[Any]) -> Any:
        """Sum of products."""
        total = self._builder.fmul(factors[0], vectors[0], flags=FLAGS)
        for factor, vector in zip(factors[1:], vectors[1:], strict=True):
            total = self._builder.fadd(total, self._builder.fmul(factor, vector, flags=FLAGS), flags=FLAGS)
        return total

    def expect(self, array: int, offset: Any) -> None:
        """Ask for a number to be brought into cache, for writing."""
        place = self._builder.bitcast(self._builder.gep(self._data[array], [offset]), ir.IntType(8).as_pointer())
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [place.type, number, number, number])
        function = self._builder.module.declare_intrinsic("llvm.prefetch", (place.type,), kind)
        self._builder.call(function, [place, number(1), number(3), number(1)])

    def _place(self, array: int, offset: Any, length: int) -> Any:
        kind = ir.VectorType(ir.DoubleType(), length).as_pointer()
        return self._builder.bitcast(self._builder.gep(self._data[array], [offset]), kind)


def _operation(arrays: str, write: Callable[[_Code], None]) -> Callable[..., Any]:
    """A compiled operation; `arrays` has an A for each argument that is an array, and an i for each index."""

    def typed(context: Any, *kinds: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            write(_Code(context, builder, signature, arguments))
            return context.get_dummy_value()

        return types.void(*(kind if a == "A" else types.intp for a, kind in zip(arrays, kinds, strict=True))), generate

    signatures: dict[int, Any] = {
        2: lambda context, a, b: typed(context, a, b),
        4: lambda context, a, b, c, d: typed(context, a, b, c, d),
        5: lambda context, a, b, c, d, e: typed(context, a, b, c, d, e),
        8: lambda context, a, b, c, d, e, f, g, h: typed(context, a, b, c, d, e, f, g, h),
    }
    return intrinsic(signatures[len(arrays)])


def _multiply_each(P: int) -> Callable[..., Any]:
    def write(code: _Code) -> None:
        cells = [code.load(2, code.offset(n, r * LANES)) for r in range(P) for n in (3, 4)]
        for q in range(P):
            table = [code.load(0, code.offset(1, (2 * P * q + r) * LANES)) for r in range(2 * P)]
            code.store(code.dot(table, cells), 5, code.offset(6, (7, q)))

    return _operation("AiAiiAii", write)


def _multiply_sorted(P: int) -> Callable[..., Any]:
    def write(code: _Code) -> None:
        cells = [code.load(3, code.offset(4, 1 - n, (5, r))) for r in range(P) for n in (0, 1)]
        rows = []
        for q in range(P):
            factors = [code.spread(n, code.offset(2, q * P + r)) for r in range(P) for n in (0, 1)]
            rows.append(code.dot(factors, cells))
        together = code.join(rows)
        code.store(code.pick(together, [p * LANES + k for k in range(LANES) for p in range(P)]), 6, code.offset(7))

    return _operation("AAiAiiAi", write)


def _sort(P: int) -> Callable[..., Any]:
    def write(code: _Code) -> None:
        cells = code.load(0, code.offset(1), LANES * P)
        for p in range(P):
            code.store(code.pick(cells, range(p, LANES * P, P)), 2, code.offset(3, (4, p)))

    return _operation("AiAii", write)


move_lanes = _operation("AiAi", lambda code: code.store(code.load(0, code.offset(1)), 2, code.offset(3)))
"""target[to + k] = source[at + k], k < LANES; arguments source, at, target, to."""
expect = _operation("Ai", lambda code: code.expect(0, code.offset(1)))
"""Ask for source[at] to be brought into cache; it need not exist. Arguments source, at."""
_each_2, _each_3, _each_4, _each_5, _each_6 = (_multiply_each(P) for P in range(2, 7))
_sorted_2, _sorted_3, _sorted_4, _sorted_5, _sorted_6 = (_multiply_sorted(P) for P in range(2, 7))
_sort_2, _sort_3, _sort_4, _sort_5, _sort_6 = (_sort(P) for P in range(2, 7))


@compiled(_nrt=False, forceinline=True)
def multiply_each(P, table, first, cells, here, behind, out, at, stride):  # type: ignore[no-untyped-def]
    """New cell of LANES lines, from cells (P, LANES) at `here` and `behind`, with matrices of each line.

    out[at + q stride + k] = sum_r table[first + (q, r, 0, k)] cells[here + (r, k)]
                                 + table[first + (q, r, 1, k)] cells[behind + (r, k)],  q, r < P, k < LANES
    """
    if P == 2:
        _each_2(table, first, cells, here, behind, out, at, stride)
    elif P == 3:
        _each_3(table, first, cells, here, behind, out, at, stride)
    elif P == 4:
        _each_4(table, first, cells, here, behind, out, at, stride)
    elif P == 5:
        _each_5(table, first, cells, here, behind, out, at, stride)
    else:
        _each_6(table, first, cells, here, behind, out, at, stride)


@compiled(_nrt=False, forceinline=True)
def multiply_sorted(P, near, far, first, rows, at, pitch, out, to):  # type: ignore[no-untyped-def]
    """LANES new cells of a line whose cells are columns of `rows`, column at + k + 1 and at + k for the k-th.

    out[to + k P + q] = sum_r near[first + (q, r)] rows[at + r pitch + k + 1]
                            + far[first + (q, r)] rows[at + r pitch + k]
    """
    if P == 2:
        _sorted_2(near, far, first, rows, at, pitch, out, to)
    elif P == 3:
        _sorted_3(near, far, first, rows, at, pitch, out, to)
    elif P == 4:
        _sorted_4(near, far, first, rows, at, pitch, out, to)
    elif P == 5:
        _sorted_5(near, far, first, rows, at, pitch, out, to)
    else:
        _sorted_6(near, far, first, rows, at, pitch, out, to)


@compiled(_nrt=False, forceinline=True)
def sort(P, f, at, rows, to, pitch):  # type: ignore[no-untyped-def]
    """LANES cells of a line into columns: rows[to + p pitch + k] = f[at + k P + p]."""
    if P == 2:
        _sort_2(f, at, rows, to, pitch)
    elif P == 3:
        _sort_3(f, at, rows, to, pitch)
    elif P == 4:
        _sort_4(f, at, rows, to, pitch)
    elif P == 5:
        _sort_5(f, at, rows, to, pitch)
    else:
        _sort_6(f, at, rows, to, pitch)
