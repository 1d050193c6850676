"""The users of a server of your own."""

from deploy.redis.__main__ import ROLES, make_users


def test_passwords_are_private_stay_the_same_and_are_not_in_the_file_of_users(tmp_path):
    users = make_users(tmp_path)
    first = users.read_text()
    assert users.stat().st_mode & 0o777 == 0o600
    for role in ROLES:
        password = tmp_path / f"{role}.password"
        assert password.stat().st_mode & 0o777 == 0o600
        assert password.read_text().strip() not in first
    assert make_users(tmp_path).read_text() == first
