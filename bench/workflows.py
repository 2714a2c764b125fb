"""The peers of durable work as code: steps, model calls, agents, waits. Runs inside the peer's own environment.

The database is a SQLite file in the folder of the process, which is new, unless a task names another one.
"""

from __future__ import annotations

import gc
import time
from typing import TYPE_CHECKING

from contestants import KEY, MODEL, Adapter, read_cpu_s, read_status

if TYPE_CHECKING:
    from collections.abc import Callable

_FILE = "runs.db"
_AGENT, _PERSON = "clerk", "ask_person"
_LOOK_S = 0.05
#: What the queues and threads of a process still do after its last run began to wait.
_SETTLING_S = 1.0


def build_row(number: int) -> dict:
    """Return what a step records where nothing but the record costs anything."""
    return {"number": number, "town": "Harbour", "is_open": True}


def build_prompt(number: int) -> str:
    return f"Question {number}: who built the lighthouse, and when was it painted?"


def measure_loop(step: Callable[[int], object], count: int) -> dict:
    """Return the cost of ``count`` steps inside of a workflow: without its own beginning and end."""
    gc.collect()
    started, cpu_started = time.monotonic(), read_cpu_s()
    for number in range(count):
        step(number)
    return {"cpu_s": read_cpu_s() - cpu_started, "wall_s": time.monotonic() - started}


class Durable(Adapter):
    """Steps in one workflow."""

    def measure_steps(self, count: int) -> dict:
        """Return the cost of plain steps."""
        raise NotImplementedError

    def measure_model_calls(self, count: int) -> dict:
        """Return the cost of steps that each ask a model."""
        raise NotImplementedError


class Ours(Durable):
    """pollux-durable as it comes."""

    def open(self) -> None:
        from pollux_durable import Agent, workflow
        from pollux_durable.calling import ModelCaller, Question
        from pollux_sync import Config, Options

        config = Config(provider="local", model=MODEL, api_key=KEY, base_url=self.base_url)

        @workflow
        def make_steps(ctx, count: int) -> dict:
            return measure_loop(lambda number: ctx.step.run(f"step {number}", build_row, number), count)

        @workflow
        def make_model_calls(ctx, count: int) -> dict:
            # An agent makes its model calls like this; here nothing else of an agent is measured.
            caller = ModelCaller(ctx.step.host, ctx.run)

            def call(number: int) -> str:
                question = Question(prompt=build_prompt(number), config=config, options=Options())
                return caller.ask(ctx.step.enter(f"call {number}"), question).reply.text

            return measure_loop(call, count)

        @workflow
        def make_one_step(ctx, number: int) -> dict:
            return ctx.step.run("step", build_row, number)

        @workflow(id=_PERSON)
        def ask_person(ctx, number: int) -> dict:
            return ctx.step.suspend("approval", {"number": number})

        self.workflows = {"steps": make_steps, "model_calls": make_model_calls, "runs": make_one_step}
        self.ask_person = ask_person
        self.agent = Agent(id=_AGENT, config=config)
        self.set_up()

    def set_up(self) -> None:
        from pollux_durable import configure

        configure(f"sqlite:///{_FILE}")

    def ask(self, prompt: str) -> str:
        return self.agent.run(prompt).result

    def measure_steps(self, count: int) -> dict:
        return self.workflows["steps"].run(count)

    def measure_model_calls(self, count: int) -> dict:
        return self.workflows["model_calls"].run(count)

    def measure_runs(self, count: int) -> dict[str, float]:
        """Return the cost of as many runs with one step each, by `batch.run`."""
        from pollux_durable import batch

        started, cpu_started = time.monotonic(), read_cpu_s()
        results = batch.run(self.workflows["runs"].id, range(count))
        cost = {"cpu_s": read_cpu_s() - cpu_started, "wall_s": time.monotonic() - started}
        if [result.result for result in results] != [build_row(number) for number in range(count)]:
            raise ValueError("a run has another result")
        return cost

    def measure_parked(self, count: int, idle_s: float) -> dict[str, float]:
        """Return what suspended runs cost: memory, threads, CPU while nothing happens, and the time to answer all."""
        from pollux_durable import batch

        self._answer_all([self.ask_person.invoke(0)])
        gc.collect()
        before_kib = read_status("VmRSS")
        handles = batch.invoke(_PERSON, range(count))
        self._wait_until_parked(count)
        time.sleep(_SETTLING_S)
        gc.collect()
        cost = {"added_kib": read_status("VmRSS") - before_kib, "threads": read_status("Threads")}
        cpu_started = read_cpu_s()
        time.sleep(idle_s)
        cost["idle_share"] = (read_cpu_s() - cpu_started) / idle_s
        cost |= self._answer_all(handles)
        return cost | {"answered_s": self._answer_together(batch.invoke(_PERSON, range(count)))}

    def _answer_together(self, handles: list) -> float:
        """Return the seconds until all runs have their answers and are woken."""
        from pollux_durable import batch

        self._wait_until_parked(len(handles))
        started = time.monotonic()
        batch.answer("approval", {handle.id: {"approved": True} for handle in handles})
        answered_s = time.monotonic() - started
        for handle in handles:
            if handle.result(timeout=60) != {"approved": True}:
                raise ValueError("a run has another answer")
        return answered_s

    def _wait_until_parked(self, count: int) -> None:
        from pollux_durable import list_runs

        while len(list_runs(status="waiting", workflow_id=_PERSON, limit=count)) < count:
            time.sleep(_LOOK_S)

    def _answer_all(self, handles: list) -> dict[str, float]:
        self._wait_until_parked(len(handles))
        started = time.monotonic()
        for handle in handles:
            handle.answer("approval", {"approved": True})
        accepted_s = time.monotonic() - started
        for handle in handles:
            if handle.result(timeout=60) != {"approved": True}:
                raise ValueError("a run has another answer")
        return {"accepted_s": accepted_s, "ended_s": time.monotonic() - started}


class Streaming(Ours):
    """An agent that streams, and a reader of what it says in another process. Both are told the database."""

    def set_up(self) -> None:
        """Do nothing: the tasks say where the database is, and one of the two processes carries nothing out."""

    def measure_writing(self, path: str, execution_id: str) -> dict[str, float]:
        """Run the agent to its end."""
        from pollux_durable import configure

        configure(f"sqlite:///{path}")
        return {"characters": len(self.agent.stream("Who built it?", execution_id=execution_id).text())}

    def measure_reading(self, path: str, execution_id: str) -> dict[str, float]:
        """Follow a run that may not have begun; return when its first text was seen, on the clock of the machine."""
        from pollux_durable import configure, events
        from pollux_durable.data.runs import build_topic

        configure(f"sqlite:///{path}", execute=False)
        seen = events.stream_topic(build_topic(_AGENT, execution_id), last_sequence_id=0, timeout=60)
        next(event for event in seen if event.event_type == "text_delta")
        return {"seen_at_s": time.monotonic()}


class Fleet(Adapter):
    """The workers of a fleet of pollux-batch, and the job that they carry out. All are told the database."""

    def measure_serving(self, url: str, until: str) -> dict[str, float]:
        """Carry out chunks until a file is there."""
        from pathlib import Path

        import pollux_durable.fleet  # noqa: F401 - declares the workflow of a chunk
        from pollux_durable import configure
        from pollux_durable.configuring import find_host

        configure(url)
        find_host()
        while not Path(until).exists():
            time.sleep(_LOOK_S)
        return {}

    def measure_job(self, url: str, count: int) -> dict[str, float]:
        """Return the cost of a job that others carry out."""
        from pollux_batch import run_batch
        from pollux_durable import configure
        from pollux_durable.fleet import DurableFleet
        from pollux_sync import Config

        configure(url, execute=False)
        config = Config(provider="local", model=MODEL, api_key=KEY, base_url=self.base_url)
        started = time.monotonic()
        result = run_batch([*map(build_prompt, range(count))], config=config, journal="job.db", fleet=DurableFleet())
        if result.succeeded != count:
            raise ValueError("an item has no answer")
        return {"wall_s": time.monotonic() - started}


class Dbos(Durable):
    """DBOS as it comes, with the SQLite settings and the serializer of its own."""

    def open(self) -> None:
        from dbos import DBOS

        DBOS(config={"name": "bench", "application_version": "1", **self.build_settings()})
        ask = self.build_question()

        def make_steps(count: int) -> dict:
            return measure_loop(lambda number: DBOS.run_step({"name": f"step {number}"}, build_row, number), count)

        def make_model_calls(count: int) -> dict:
            return measure_loop(lambda number: DBOS.run_step({"name": f"call {number}"}, ask, number), count)

        self.make_steps, self.make_model_calls = DBOS.workflow()(make_steps), DBOS.workflow()(make_model_calls)
        DBOS.launch()

    def build_settings(self) -> dict:
        return {"system_database_url": f"sqlite:///{_FILE}"}

    def build_question(self) -> Callable[[int], str] | None:
        return None

    def measure_steps(self, count: int) -> dict:
        return self.make_steps(count)

    def measure_model_calls(self, count: int) -> dict:
        return self.make_model_calls(count)


class DbosLikeOurs(Dbos):
    """DBOS with the database settings and the serializer of pollux-durable, and calls by pollux-sync."""

    def build_settings(self) -> dict:
        from pollux_durable.codecs import JsonStore
        from pollux_durable.data.settings import DurableSettings
        from pollux_durable.dbosengine import _create_sql_engine, _JsonSerializer

        engine = _create_sql_engine(DurableSettings(url=f"sqlite:///{_FILE}"))
        return {"system_database_engine": engine, "serializer": _JsonSerializer(JsonStore())}

    def build_question(self) -> Callable[[int], str]:
        from pollux_sync import Config, run

        config = Config(provider="local", model=MODEL, api_key=KEY, base_url=self.base_url)
        return lambda number: run(build_prompt(number), config=config)["answers"][0]


class PydanticAi(Adapter):
    """An agent of pydantic-ai with its DBOS capability, as its guide shows it: on the SQLite settings of DBOS."""

    def open(self) -> None:
        import asyncio

        from dbos import DBOS
        from pydantic_ai import Agent
        from pydantic_ai.durable_exec.dbos import DBOSDurability
        from pydantic_ai.models.openai import OpenAIChatModel
        from pydantic_ai.providers.openai import OpenAIProvider

        DBOS(config={"name": "bench", "application_version": "1", **self.build_settings()})
        model = OpenAIChatModel(MODEL, provider=OpenAIProvider(base_url=self.base_url, api_key=KEY))
        agent = Agent(model, name=_AGENT, capabilities=[DBOSDurability()])

        @DBOS.workflow()
        async def make_turn(prompt: str) -> str:
            return (await agent.run(prompt)).output

        self.make_turn = make_turn
        # One loop for all: the connections of the client belong to it.
        self.loop = asyncio.new_event_loop()
        DBOS.launch()

    def build_settings(self) -> dict:
        return {"system_database_url": f"sqlite:///{_FILE}"}

    def ask(self, prompt: str) -> str:
        return self.loop.run_until_complete(self.make_turn(prompt))


class PydanticAiWal(PydanticAi):
    """The same on the SQLite settings of pollux-durable, with the serializer that pydantic-ai needs."""

    def build_settings(self) -> dict:
        import sqlalchemy

        # As in pollux_durable.dbosengine, which this environment lacks.
        engine = sqlalchemy.create_engine(f"sqlite:///{_FILE}", pool_size=20, max_overflow=20, pool_timeout=60)

        @sqlalchemy.event.listens_for(engine, "connect")
        def set_up(connection: object, _: object) -> None:
            connection.isolation_level = "IMMEDIATE"
            for pragma in ("busy_timeout=30000", "foreign_keys=ON", "journal_mode=WAL", "synchronous=NORMAL"):
                connection.execute(f"PRAGMA {pragma}")
            connection.create_function("unixepoch", -1, lambda *_: int(time.time()))

        return {"system_database_engine": engine}
