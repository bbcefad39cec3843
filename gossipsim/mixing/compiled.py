"""The sums of mixing as machine code, compiled by LLVM when first needed (30 ms), for float32 and float64.

    target = weights[first] * source[first];  target = target + weights[k] * source[k]   for k = first + 1, ...

LLVM's own language says exactly which operations are done in which order: without fast-math flags it neither
contracts a product and a sum nor reorders anything, on any processor, so that the bits are those of any other program
that follows the definition. A strip of 256 bytes of the sum stays in registers while all terms are added to it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch

Kernel = Callable[..., None]

_STRIP = 256  # bytes of a sum that stay in registers: 4 of AVX-512, 8 of AVX, 16 of NEON

_KERNEL = """
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)

define void @sums(i64 %sums, i64 %columns, ptr %starts, ptr %places, ptr %weights, ptr %targets,
                  i64 %near, ptr %near.row, i64 %near.stride, ptr %far.rows, i64 %far.shift,
                  ptr %target.row, i64 %target.stride) {{
entry:
  br label %sum

sum:
  %i = phi i64 [ 0, %entry ], [ %i.next, %sum.done ]
  %sums.left = icmp ult i64 %i, %sums
  br i1 %sums.left, label %open, label %done

open:
  %i.next = add i64 %i, 1
  %first.at = getelementptr i64, ptr %starts, i64 %i
  %last.at = getelementptr i64, ptr %starts, i64 %i.next
  %first = load i64, ptr %first.at
  %last = load i64, ptr %last.at
  %target.at = getelementptr i64, ptr %targets, i64 %i
  %target.place = load i64, ptr %target.at
  %target.offset = mul i64 %target.place, %target.stride
  %target = getelementptr i8, ptr %target.row, i64 %target.offset
  %empty = icmp eq i64 %first, %last
  br i1 %empty, label %clear, label %sweep{first}

clear:
  %size = mul i64 %columns, {itemsize}
  call void @llvm.memset.p0.i64(ptr %target, i8 0, i64 %size, i1 false)
  br label %sum.done
{sweeps}
sum.done:
  br label %sum

done:
  ret void
}}
"""

_SWEEP = """
sweep{n}:
  %c{n} = phi i64 [ {start}, %{before} ], [ %c{n}.next, %store{n} ]
  %c{n}.next = add i64 %c{n}, {n}
  %fits{n} = icmp ule i64 %c{n}.next, %columns
  br i1 %fits{n}, label %term{n}, label %{after}

term{n}:
  %k{n} = phi i64 [ %first, %sweep{n} ], [ %k{n}.next, %term{n} ]
  %sum{n} = phi {vector} [ {zero}, %sweep{n} ], [ %sum{n}.next, %term{n} ]
  %place{n}.at = getelementptr i64, ptr %places, i64 %k{n}
  %place{n} = load i64, ptr %place{n}.at
  %is.near{n} = icmp ult i64 %place{n}, %near
  %offset{n} = mul i64 %place{n}, %near.stride
  %near.source{n} = getelementptr i8, ptr %near.row, i64 %offset{n}
  %beyond{n} = sub i64 %place{n}, %near
  %far{n} = select i1 %is.near{n}, i64 0, i64 %beyond{n}
  %far.at{n} = getelementptr ptr, ptr %far.rows, i64 %far{n}
  %far.row{n} = load ptr, ptr %far.at{n}
  %far.source{n} = getelementptr i8, ptr %far.row{n}, i64 %far.shift
  %source{n} = select i1 %is.near{n}, ptr %near.source{n}, ptr %far.source{n}
  %x{n}.at = getelementptr {scalar}, ptr %source{n}, i64 %c{n}
  %x{n} = load {vector}, ptr %x{n}.at, align {itemsize}
  %w{n}.at = getelementptr {scalar}, ptr %weights, i64 %k{n}
  %w{n}.one = load {scalar}, ptr %w{n}.at
  %w{n}.first = insertelement {vector} poison, {scalar} %w{n}.one, i64 0
  %w{n} = shufflevector {vector} %w{n}.first, {vector} poison, <{n} x i32> zeroinitializer
  %wx{n} = fmul {vector} %x{n}, %w{n}
  %sum{n}.next = fadd {vector} %sum{n}, %wx{n}
  %k{n}.next = add i64 %k{n}, 1
  %terms.left{n} = icmp ult i64 %k{n}.next, %last
  br i1 %terms.left{n}, label %term{n}, label %store{n}

store{n}:
  %y{n}.at = getelementptr {scalar}, ptr %target, i64 %c{n}
  store {vector} %sum{n}.next, ptr %y{n}.at, align {itemsize}
  br label %sweep{n}
"""


def warm() -> None:
    """Compiles the kernels now, so that processes forked from this one have them already."""
    kernel(torch.float32)
    kernel(torch.float64)


@cache
def kernel(dtype: torch.dtype) -> Kernel | None:
    """The kernel for rows of this type; None: there is none. Its 13 arguments are integers, most of them addresses:

    sums, columns
        how many of each there are.
    starts (sums + 1), places (terms), weights (terms), targets (sums)
        arrays of int64, `weights` of the rows' type. Sum i has the terms from starts[i] to starts[i + 1] - 1 and goes
        to row targets[i]; term k is weights[k] times row places[k].
    near, near row, near stride, far rows, far shift
        row p is at near row + p near stride where p < near, else at far rows[p - near] + far shift: an array of
        addresses with at least one entry; stride and shift in bytes.
    target row, target stride
        of the results.
    """
    scalar = {torch.float32: "float", torch.float64: "double"}.get(dtype)
    return None if scalar is None else _compile(_program(scalar, dtype.itemsize))


def _program(scalar: str, itemsize: int) -> str:
    """Strips of 256 bytes, then of 32, then single numbers."""
    widths = [_STRIP // itemsize, 32 // itemsize, 1]
    sweeps = ""
    for n, before, after in zip(widths, [0, *widths], [*widths[1:], 0], strict=False):
        zero = f"{scalar} -0.0"  # what can be added to any number without changing it
        sweeps += _SWEEP.format(
            n=n,
            scalar=scalar,
            vector=f"<{n} x {scalar}>",
            itemsize=itemsize,
            zero=f"<{', '.join([zero] * n)}>",
            start=f"%c{before}" if before else "0",
            before=f"sweep{before}" if before else "open",
            after=f"sweep{after}" if after else "sum.done",
        )
    return _KERNEL.format(first=widths[0], itemsize=itemsize, sweeps=sweeps)


def _compile(program: str) -> Kernel | None:
    """The program's function as a callable; None where llvmlite does not run (another kernel has the same bits)."""
    try:
        import llvmlite.binding as llvm  # type: ignore[import-untyped]
    except (ImportError, OSError):
        return None
    import ctypes

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=3
    )
    engine: Any = llvm.create_mcjit_compiler(llvm.parse_assembly(program), machine)
    engine.finalize_object()
    sums = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 13)(engine.get_function_address("sums"))
    _ENGINES.append(engine)
    return sums


_ENGINES: list[Any] = []
"""The machine code's owners: it goes when they go."""
