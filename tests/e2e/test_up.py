from tests.e2e.support import needs
def test_a(): assert needs("sh")
