"""``Checkpoints``: the steps of a training in a directory, written and read by orbax.

A step has two items. ``states`` is what `to_pure_dict` returns, so that orbax alone can read it. ``about`` is JSON:
what the arrays are, the graph, and what the user writes to it. Orbax sees to the background, to several processes, and
to which steps are kept; to one file for others to read see `state_files`.
"""

from __future__ import annotations

import functools
import operator
import os
import threading
import traceback
import weakref
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import jax

from brainstate_graph import Filter, GraphError, from_json

from .model_files import allowed_names, merged_model
from .orbax_leaves import LeavesWithKinds, StoredLeaf, as_leaf, nested, stored_in, to_stored
from .pure_dicts import (
    LoadReport,
    Rename,
    aliases,
    from_flat_dict,
    further_names,
    leaves_by_path,
    names_by_new_name,
    to_flat_dict,
)
from .short_term import to_load, to_save
from .step_info import StepInfo, check_metadata, without_checksum

if TYPE_CHECKING:
    import orbax.checkpoint as ocp

__all__ = ["Checkpoints"]

_NUMBERS = ("bool", "int", "float", "complex")


class Checkpoints:
    """The checkpoints of a training in a directory: orbax's CheckpointManager for models.

    `save` returns once the values are taken, and they are written beside what the training does next. A step that
    was written in part, because the process died, is not listed. Where there are several processes, each calls every
    method, and each writes and reads the parts of the arrays that it has.

    Args:
        directory: The directory of the steps, made where it does not exist. All processes see the same one.
        max_to_keep: How many steps to keep, the latest; None for all.
        checksums: False to neither write nor check any. To check, all files are gone through once more, from memory
            where it has room for them.
        options: Further options of orbax, as `orbax.checkpoint.CheckpointManagerOptions`.

    Attributes:
        manager: The orbax.checkpoint.CheckpointManager.

    Raises:
        ImportError: orbax is not installed.

    Example:
        >>> import tempfile
        >>> import brainstate_nn as nn
        >>> model, other = nn.Linear(2, 3), nn.Linear(2, 3)
        >>> with tempfile.TemporaryDirectory() as folder, nn.Checkpoints(folder, max_to_keep=2) as checkpoints:
        ...     for step in range(4):
        ...         saved = checkpoints.save(step, model, metadata={"loss": 0.5})
        ...     checkpoints.restore(other)
        ...     checkpoints.all_steps(), checkpoints.metadata()
        LoadReport(missing=(), unexpected=())
        ([2, 3], {'loss': 0.5})
        >>> bool((other.weight.value == model.weight.value).all())
        True
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        max_to_keep: int | None = None,
        checksums: bool = True,
        options: ocp.CheckpointManagerOptions | None = None,
    ) -> None:
        ocp = _orbax()
        from .orbax_handler import SummedHandler

        if options is None:
            keep = None if max_to_keep is None else ocp.checkpoint_managers.LatestN(max_to_keep)
            options = ocp.CheckpointManagerOptions(preservation_policy=keep)
        elif max_to_keep is not None:
            raise TypeError(
                "max_to_keep cannot be given beside options: write `preservation_policy=LatestN(3)` in the options"
            )
        path = os.fspath(directory)
        self.directory = path if "://" in path else os.path.abspath(path)
        handlers = {"states": SummedHandler(checksums), "about": ocp.JsonCheckpointHandler()}
        self.manager = ocp.CheckpointManager(self.directory, options=options, item_handlers=handlers)
        self._info = StepInfo()
        _open.add(self)
        _wait_at_exit()

    def save(
        self,
        step: int,
        node_or_tree: Any,
        *filters: Filter,
        metadata: Mapping[str, Any] | None = None,
        force: bool = False,
    ) -> bool:
        """Take the values of states, and write them in the background.

        The values are those of now: the states may change while they are written. An error in the background is raised
        by the next call of `save`, `wait_until_finished` or `close`.

        Args:
            step: The number of the step, larger than those before.
            node_or_tree: A Node, a container of them, or a state tree; of shape and dtype, `graphdef` is kept as well.
            *filters: Which states; without any all but hidden states and their like, as for `save_states`.
            metadata: What is JSON: a dictionary of numbers, strings, lists and dictionaries. Where the options have a
                `best_fn`, it is given this.
            force: True to save also where the options would not.

        Returns:
            Whether the step is being saved; the options may say to save each tenth only.

        Raises:
            GraphError: A value cannot be held, of which the message lists all, or there is no state to save; nothing
                was written.
            TypeError: The metadata are not JSON.
            ValueError: The step is there already, or a later one.
        """
        from .orbax_handler import SaveArrays

        ocp = _orbax()
        step = operator.index(step)
        metadata = {} if metadata is None else metadata
        check_metadata(metadata)
        # Orbax says no to a step before the latest one too, in silence, and the training would go on unsaved.
        if not force and not self.manager.should_save(step):
            latest = self.manager.latest_step()
            if latest is not None and step < latest and step not in self.manager.all_steps():
                raise ValueError(
                    f"step {step} is before step {latest}, the latest in {self.directory}: after going back to an "
                    "earlier step, remove the later ones by `checkpoints.manager.delete(step)`, or write `force=True`"
                )
            return False
        arrays, records = to_stored(leaves_by_path(node_or_tree, *to_save(node_or_tree, filters)))
        items = {"about": ocp.args.JsonSave(self._info(node_or_tree, records, metadata))}
        if arrays:
            items["states"] = SaveArrays(nested(arrays, records))
        return self.manager.save(step, args=ocp.args.Composite(**items), metrics=metadata, force=force)

    def restore(
        self,
        node: Any,
        *filters: Filter,
        step: int | None = None,
        strict: bool = True,
        rename: Rename | None = None,
        cast: bool = False,
    ) -> LoadReport:
        """Read a step into the live states; all of them or, where something does not fit, none.

        Each array is read where the one before it is: on its devices, and under its sharding, whatever those were when
        it was saved. What the model has no place for is not read. A model of shapes is filled.

        Args:
            node: A Node, or a container of them.
            *filters: Which states of `node` the step holds; without any as for `load_states`.
            step: The number; None for the latest.
            strict: As for `from_flat_dict`.
            rename: As for `from_flat_dict`.
            cast: As for `from_flat_dict`.

        Returns:
            What is missing and what is unexpected; both are empty where `strict`.

        Raises:
            FileNotFoundError: There is no such step, or none at all.
            ValueError: The step is damaged, or was not written by `save`.
            GraphError: A name is missing or unexpected, or an array has another shape or dtype; the message lists all.
        """
        step = self._existing(step)
        info = self._read_info(step)
        records: dict[str, StoredLeaf] = info["leaves"]
        filters, rename = to_load(node, filters, rename)
        live, tied = to_flat_dict(node, *filters), aliases(node)
        further, rename = further_names(info["aliases"], records, node, filters, rename)
        stored_as = {name: name for name in records} | further
        data: dict[str, Any] = {name: records[first] for name, first in stored_as.items()}
        # By the name of what is stored: the leaf whose place it takes, and so where it is read to.
        templates: dict[str, Any] = {}
        filled: set[str | None] = set()
        fails = False
        for new, name in names_by_new_name(data, rename, []).items():
            own = new if new in live else _first_name(new, tied)
            filled.add(own)
            if own in live and _may_fit(live[own], records[stored_as[name]], cast):
                templates.setdefault(stored_as[name], live[own])
            else:
                fails |= strict or own in live
        if fails or (strict and not filled.issuperset(live)):
            # `from_flat_dict` will raise, and needs no values for its message: arrays are not read, for hours perhaps.
            data |= {name: templates[first] for name, first in stored_as.items() if first in templates}
            templates = {name: leaf for name, leaf in templates.items() if isinstance(leaf, jax.ShapeDtypeStruct)}
        found = self._read(step, records, templates)
        data |= {name: found[first] for name, first in stored_as.items() if first in found}
        try:
            return from_flat_dict(node, data, *filters, strict=strict, rename=rename, cast=cast)
        except GraphError as error:
            raise GraphError(f"step {step} in {self.directory}: {error}") from None

    def load_model(self, step: int | None = None, allow: Iterable[Any] = ()) -> Any:
        """Make the model of a step, without the code that made it; `restore` is for one that is there already.

        The step holds what is needed where a whole model was saved, and each of its settings has a form in a file:
        an Optimizer has not. So save ``{"net": net, "optimizer": optimizer}`` to continue a training, and `net` to
        publish.

        Args:
            step: The number; None for the latest.
            allow: As for `load_model`.

        Returns:
            The model, with its arrays on the default device.

        Raises:
            FileNotFoundError: There is no such step, or none at all.
            ValueError: The step is damaged, or holds states without their model.
            GraphError: The step names what is not allowed, or holds a part of the states.

        Example:
            >>> import tempfile
            >>> from brainstate_nn import Checkpoints, Linear
            >>> with tempfile.TemporaryDirectory() as folder, Checkpoints(folder) as checkpoints:
            ...     checkpoints.save(0, Linear(2, 3))
            ...     checkpoints.load_model().out_size
            True
            3
        """
        allowed = allowed_names(allow)
        step = self._existing(step)
        info = self._read_info(step)
        if info["graphdef"] is None:
            raise ValueError(
                f"step {step} in {self.directory} holds states without their model: make the model, and write "
                f"`restore(model)`. There is no model because {info['no_graphdef']}"
            )
        records: dict[str, StoredLeaf] = info["leaves"]
        kinds = {name: record.kind for name, record in records.items()}
        leaves = LeavesWithKinds(self._read(step, records, dict.fromkeys(records)), kinds)
        try:
            shape, trees = (from_json(info[name], allowed) for name in ("graphdef", "trees"))
            return merged_model(shape, trees, leaves)
        except GraphError as error:
            text = str(error).replace("from_json(text, ", f"load_model({step}, ")
            if "has no array" in text:
                text += ". To save hidden states too, write `save(step, model, ...)`"
            raise GraphError(f"step {step} in {self.directory}: {text}") from None

    def latest_step(self) -> int | None:
        """Return the number of the latest step, or None."""
        return self.manager.latest_step()

    def all_steps(self) -> list[int]:
        """Return the numbers of the steps, those that are being written included."""
        return sorted(self.manager.all_steps())

    def metadata(self, step: int | None = None) -> dict[str, Any]:
        """Return the metadata of a step.

        Args:
            step: The number; None for the latest.
        """
        return self._read_info(self._existing(step))["metadata"]

    def wait_until_finished(self) -> None:
        """Wait until all steps are written, and raise what went wrong there."""
        self.manager.wait_until_finished()

    def close(self) -> None:
        """Wait until all steps are written, and let go of what orbax holds."""
        self.manager.close()

    def __enter__(self) -> Checkpoints:
        """Return the object itself; at the end of the block, it is closed."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def __repr__(self) -> str:
        return f"Checkpoints({self.directory!r})"

    def _existing(self, step: int | None) -> int:
        self.manager.wait_until_finished()
        # Another process may have written since.
        self.manager.reload()
        steps = self.all_steps()
        if not steps:
            raise FileNotFoundError(f"there is no checkpoint in {self.directory}")
        if step is None:
            return steps[-1]
        if step not in steps:
            raise FileNotFoundError(f"there is no step {step} in {self.directory}; it has {', '.join(map(str, steps))}")
        return operator.index(step)

    def _read_info(self, step: int) -> dict[str, Any]:
        ocp = _orbax()
        try:
            items = self.manager.restore(step, args=ocp.args.Composite(about=ocp.args.JsonRestore()))
            return without_checksum(items["about"])
        except Exception as error:
            raise self._unreadable(step, error) from error

    def _read(self, step: int, records: Mapping[str, StoredLeaf], templates: Mapping[str, Any]) -> dict[str, Any]:
        """Read leaves, each where its template is."""
        from .orbax_handler import RestoreArrays, restore_args

        ocp = _orbax()
        args = {name: restore_args(records[name], x) for name, x in templates.items() if 0 not in records[name].shape}
        arrays: dict[str, Any] = {}
        try:
            if args:
                tree = nested(args, records)
                wanted = RestoreArrays(tree, restore_args=tree, partial_restore=True)
                found = self.manager.restore(step, args=ocp.args.Composite(states=wanted))["states"]
                arrays = {name: stored_in(found, records[name]) for name in args}
            return {name: as_leaf(records[name], arrays.get(name), leaf) for name, leaf in templates.items()}
        except Exception as error:
            raise self._unreadable(step, error) from error

    def _unreadable(self, step: int, error: Exception) -> ValueError:
        text = str(error).partition("\n")[0][:200]
        return ValueError(
            f"step {step} in {self.directory} is damaged, or was not written by `Checkpoints.save`: "
            f"{text or type(error).__name__}"
        )


_open: weakref.WeakSet[Checkpoints] = weakref.WeakSet()


@functools.cache
def _wait_at_exit() -> None:
    """Have the program end only when the last step is written.

    Before Python waits for threads, it stops the executors that orbax 0.12 writes by: the step was lost, or the program
    hung. What `atexit` calls comes later still, and this hook, by which executors stop, is the only one before.
    """
    # Not documented, so it may be gone one day: then the program has to wait by itself.
    register = getattr(threading, "_register_atexit", None)
    if register is not None:
        register(_wait_for_all)


def _wait_for_all() -> None:
    for checkpoints in _open:
        try:
            checkpoints.manager.wait_until_finished()
        except Exception:
            traceback.print_exc()


def _orbax() -> Any:
    try:
        import orbax.checkpoint
    except ImportError as error:
        raise ImportError("Checkpoints needs orbax: run `pip install orbax-checkpoint`") from error
    return orbax.checkpoint


def _first_name(name: str, others: Mapping[str, str]) -> str | None:
    """Return the name under which the model has a leaf first, given any of its names."""
    for other, first in others.items():
        if name == other or name.startswith(f"{other}."):
            return first + name[len(other) :]
    return None


def _may_fit(leaf: Any, record: StoredLeaf, cast: bool) -> bool:
    # Of Python numbers the value decides, which is not read yet.
    if record.kind in _NUMBERS or not hasattr(leaf, "dtype"):
        return True
    return leaf.shape == tuple(record.shape) and (cast or str(leaf.dtype) == record.dtype)
