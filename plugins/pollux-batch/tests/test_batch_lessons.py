"""What bulk libraries were seen to get wrong, and the tests that hold this one to do better."""

import re
from pathlib import Path

import pytest

LESSONS = {
    "a log that was cut can be resumed from, twice": [
        "batch_resuming::test_resumes_from_a_journal_whose_log_was_cut",
    ],
    "a dry run answers nothing": ["batch_resuming::test_takes_no_answer_of_the_mock"],
    "another system prompt asks every item anew": [
        "batch_resuming::test_sends_every_item_anew_under_another_system_prompt",
        "batch_keys::test_asks_what_would_be_another_request",
    ],
    "another parser reads the stored answers anew": [
        "batch_resuming::test_reads_the_stored_answers_with_another_parser",
        "batch_resuming::test_reads_10_000_stored_answers_with_another_parser_in_seconds",
    ],
    "a row in front of the others costs one call": [
        "batch_resuming::test_asks_only_a_row_that_was_inserted_at_the_front"
    ],
    "equal prompts are asked once": ["batch_resuming::test_asks_equal_prompts_once"],
    "an answer that the parser refuses stays paid": [
        "batch_resuming::test_keeps_paid_answers_that_the_parser_refuses",
    ],
    "a kill costs what was in flight, by name": [
        "batch_kills::test_pays_again_only_for_what_was_in_flight_at_a_kill",
        "batch_kills::test_names_what_was_in_flight_at_a_kill",
    ],
    "Ctrl-C loses no paid answer": [
        "batch_ending::test_keeps_what_is_in_flight_on_ctrl_c",
        "batch_ending::test_pays_for_no_answer_again_after_ctrl_c",
    ],
    "a refusal pauses as long as the provider asks": [
        "batch_limiting::test_pauses_as_long_as_the_provider_asks",
        "batch_limiting::test_answers_an_item_that_was_refused_for_its_rate",
    ],
    "a paused provider holds no workers": [
        "batch_limiting::test_goes_on_with_a_healthy_provider_while_another_pauses",
        "batch_limiting::test_finds_the_items_of_a_healthy_provider_behind_those_of_a_paused_one",
    ],
    "a quota is spread over its minute": [
        "batch_limiting::test_lets_go_no_more_than_the_burst_in_the_first_second",
    ],
    "nothing is sent past a middleware that raises": [
        "batch_faults::test_sends_nothing_of_an_item_whose_middleware_raises",
    ],
    "each strategy is prepared and cleaned up once": [
        "strategy_processing::test_each_strategy_of_its_own_is_prepared_and_cleaned_up_once",
        "strategy_processing::test_a_shared_strategy_is_prepared_and_cleaned_up_once",
    ],
    "a row that a job has lost is reported": [
        "batch_route::test_reports_a_row_that_is_missing",
        "batch_jobs::test_sends_a_row_again_that_a_job_has_lost",
    ],
    "a crash between submitting and looking submits nothing twice": [
        "batch_jobs::test_finds_the_job_of_a_killed_process_again",
        "batch_route::test_finds_a_job_again_whose_submission_was_not_answered",
    ],
    "it runs in any thread": ["batch_ending::test_works_in_a_thread"],
    "a million items take no memory": [
        "batch_memory::test_takes_less_than_100_mb_for_many_items",
        "batch_limiting::test_reads_its_input_no_faster_than_its_results_are_read",
    ],
    "a budget stops many threads, and goes on after a raise": [
        "batch_budgeting::test_never_spends_more_than_its_budget",
        "batch_budgeting::test_pays_for_nothing_twice_until_its_budget_was_raised_enough",
        "batch_budgeting::test_spends_no_more_than_its_estimates_were_too_low",
    ],
    "a try that timed out is charged by estimate": [
        "batch_budgeting::test_charges_tries_without_an_answer_as_estimated",
        "batch_budgeting::test_shows_what_tries_without_an_answer_may_have_cost",
    ],
    "a replayed run costs nothing": ["batch_resuming::test_charges_nothing_for_a_replayed_run"],
    "a second run on a journal is refused, with the process of the first": [
        "batch_resuming::test_refuses_to_share_a_journal_with_another_process",
    ],
    "a request that is rendered otherwise is shown before it is sent": [
        "batch_resuming::test_names_the_first_difference_of_a_request_before_any_call",
        "batch_jobs::test_stops_before_it_submits_what_waits_in_another_form",
    ],
}


@pytest.mark.parametrize("lesson", LESSONS)
def test_every_lesson_has_its_tests(lesson):
    for name in LESSONS[lesson]:
        module, _, test = name.partition("::")
        assert re.search(rf"^def {test}\(", Path(__file__).with_name(f"test_{module}.py").read_text(), re.MULTILINE)
