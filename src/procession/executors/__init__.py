"""One port, several times: where the tasks of a stream run."""
