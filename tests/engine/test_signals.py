import os
import signal
import threading
import time

import pytest

from lidardistill.engine import signals
from lidardistill.engine.signals import Interrupted, StopSignal, interruptible


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_is_remembered_and_the_old_handler_comes_back(number):
    before = signal.getsignal(number)
    with StopSignal() as stop:
        assert stop.name is None
        os.kill(os.getpid(), number)
        assert stop.name == signal.Signals(number).name
    assert signal.getsignal(number) is before


def test_sigterm_twice_is_one_request_and_ctrl_c_twice_ends():
    with StopSignal() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
    assert stop.name == "SIGTERM"
    with StopSignal() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.name == "SIGINT"
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_outside_of_the_main_thread_nothing_is_changed():
    before = signal.getsignal(signal.SIGTERM)
    inside = []

    def work():
        with StopSignal():
            inside.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert inside == [before]


def test_a_wait_is_left_once_the_grace_is_over_and_a_computation_is_not(monkeypatch):
    monkeypatch.setattr(signals, "GRACE_S", 0.05)
    with StopSignal() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.2)  # computes: nothing is raised
        with pytest.raises(Interrupted, match="SIGTERM"), stop.waiting():
            raise AssertionError("the signal is overdue already")
    with StopSignal() as stop, pytest.raises(Interrupted), stop.waiting():  # noqa: PT012
        os.kill(os.getpid(), signal.SIGUSR1)
        time.sleep(60)
    with StopSignal() as stop, stop.waiting():
        pass
    time.sleep(0.1)  # no alarm is left behind


def test_outside_of_the_loop_sigterm_ends_at_once_and_is_no_unreadable_file():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted, match="stopped by SIGTERM"), interruptible():  # noqa: PT012
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
        except Exception as error:  # as a reader of files would
            raise AssertionError("swallowed") from error
    assert signal.getsignal(signal.SIGTERM) is before
