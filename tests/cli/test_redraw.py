"""What `--watch` looks at."""

from engine.cli.redraw import _look


def test_a_folder_of_cases_is_watched_itself_and_those_below_a_channel_are_not(tmp_path):
    channel = tmp_path / "cases" / "adt"
    case = channel / "cases" / "admit"
    case.mkdir(parents=True)
    for path in (channel / "channel.yaml", case / "in.hl7"):
        path.write_text("x")
    assert list(_look([channel])) == [channel / "channel.yaml"]
    assert list(_look([channel / "cases"])) == [case / "in.hl7"]
