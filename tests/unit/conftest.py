"""What tests of pictures at addresses need: an S3-like server."""

import pytest


@pytest.fixture(scope="session")
def server():
    moto = pytest.importorskip("moto.server")
    found = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    found.start()
    yield "http://{}:{}".format(*found.get_host_and_port())
    found.stop()


@pytest.fixture
def s3(server, monkeypatch):
    """An empty bucket of a server that answers as S3 does."""
    from upath import UPath

    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    bucket = UPath("s3://bucket", skip_instance_cache=True)
    bucket.fs.call_s3("create_bucket", Bucket="bucket")
    yield "s3://bucket"
    bucket.fs.rm("bucket", recursive=True)
