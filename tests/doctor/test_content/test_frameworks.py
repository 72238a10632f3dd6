"""What is found, and what is not, in sources that use frameworks."""

from __future__ import annotations

from tests.doctor.test_content.support import codes, content, line_of, only, told


def test_tensorflow_and_layers_of_keras_are_seeded_and_no_fault() -> None:
    from tests.doctor.test_content import frameworks

    source = frameworks.Augments()
    finding = only(content(source))

    assert (finding.code, finding.severity) == ("PRC209", "note")
    assert "TensorFlow's global seed moved on" in finding.evidence
    assert finding.where[0].line == line_of(source, "random_brightness")


def test_random_operations_in_a_tf_function_are_a_warning() -> None:
    from tests.doctor.test_content import frameworks

    finding = only(content(frameworks.Traced()))

    assert (finding.code, finding.severity) == ("PRC202", "warning")
    assert "there is a tf.function" in finding.evidence
    assert "stateless" in finding.fix


def test_the_order_of_keras_image_iterators_is_no_fault() -> None:
    from tests.doctor.test_content import frameworks

    diagnosis = content(frameworks.flow())

    assert codes(diagnosis) == ["PRC209"], told(diagnosis)
    assert str(diagnosis.findings[0].where[0]) == "NumpyArrayIterator.__getitem__"


def test_operations_in_place_on_tensors() -> None:
    from tests.doctor.test_content import tensors

    source = tensors.AddsInPlace()
    finding = only(content(source, batch_size=8))

    assert (finding.code, finding.severity) == ("PRC205", "error")
    assert (finding.where[0].attribute, finding.where[0].line) == ("source.x", line_of(source, "row.add_(1)"))
    assert codes(content(tensors.Adds(), batch_size=8)) == []
