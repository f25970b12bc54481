"""TLS for the blocking client."""

import ssl

from jsonrpcs_tx.client.targets import Target


def context(target: Target) -> ssl.SSLContext:
    """The TLS context for a target: the CAs that it trusts, and the client's own certificate. The server's certificate
    must be for the host name or the IP address of the target.

    @raise OSError: a file cannot be read, or does not contain a certificate or a key.
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
    """Why TLS failed, in OpenSSL's own words if there are any."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error)).replace("_", " ").lower()
    return str(error)
