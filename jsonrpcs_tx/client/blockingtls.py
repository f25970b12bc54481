"""TLS for the client that waits."""

import ssl

from jsonrpcs_tx.client.targets import Target


def context(target: Target) -> ssl.SSLContext:
    """What a target asks of TLS: who signs the server's certificate, which has to be for the name or the IP address
    of the target, and the client's own certificate.

    @raise OSError: a file cannot be read, or has not what it should have.
    """
    try:
        made = ssl.create_default_context(cafile=target.tls_ca)
    except OSError as error:
        raise OSError(f"{target.tls_ca}: {error.strerror or reason(error)}") from None
    if target.tls_certificate is not None:
        try:
            made.load_cert_chain(target.tls_certificate, target.tls_private_key)
        except OSError as error:
            files = ", ".join(filter(None, (target.tls_certificate, target.tls_private_key)))
            raise OSError(f"{files}: {error.strerror or reason(error)}") from None
    return made


def reason(error: OSError) -> str:
    """What is wrong, in the words of OpenSSL where it has some."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error)).replace("_", " ").lower()
    return str(error)
