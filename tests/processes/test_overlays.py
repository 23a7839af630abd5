"""Overlays that are left open, in a Python of its own: they would slow down this one."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap


def in_a_new_process(code: str) -> str:
    """What a program prints; overlays that are left open would slow down this process."""
    head = "import threading\nfrom brainstate_graph import Overlay, State\ns = State(1.0)\n"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", head + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        env=env,
        check=False,
        timeout=60,
    )
    return done.stdout + done.stderr[-2000:]


def test_the_error_of_the_user_is_not_hidden_where_overlays_are_left_open():
    said = in_a_new_process("""
        try:
            with Overlay():
                Overlay().__enter__()
                s.value = 2.0
                raise KeyError("mine")
        except KeyError as error:
            print(error, s.value)
        s.value = 3.0
        print(s.value, s.copy().value)
    """)
    assert said == "'mine' 1.0\n3.0 3.0\n"


def test_overlays_end_in_turn():
    said = in_a_new_process("""
        first, second = Overlay(), Overlay()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        s.value = 2.0
        second.__exit__(None, None, None)
        print(s.value)
    """)
    assert said == "2.0\n"  # the second ended with the first


def test_no_closed_overlay_comes_back():
    said = in_a_new_process("""
        def held():
            with Overlay():
                yield
        first, second = held(), held()
        next(first), next(second)
        for generator in (first, second):
            try:
                generator.close()
            except RuntimeError:
                pass
        hook = State(0.0).register_hook("read", print)  # whatever else is going on in the process
        s.value = 2.0
        thread = threading.Thread(target=lambda: print(s.value))
        thread.start(), thread.join()
    """)
    assert said == "2.0\n"


def test_an_open_overlay_is_not_entered_again():
    said = in_a_new_process("""
        import os
        threading.Timer(5, lambda: (print("hangs", flush=True), os._exit(0))).start()
        try:
            with Overlay() as overlay:
                with overlay:
                    s.value
        except RuntimeError:
            print("refused", flush=True)
        os._exit(0)
    """)
    assert said == "refused\n"
