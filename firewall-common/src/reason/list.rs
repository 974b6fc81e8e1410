// SPDX-License-Identifier: MIT OR Apache-2.0
//! The list itself. `docs/logs.md` has it as a table.

use super::Listed;

// 1 to 63 are the kernel's: they index its counters. The doors' begin at 64, the gateway's at 128, the providers' at 192,
// the host's at 224.
reasons! {
    /// Why the kernel side or a door denied.
    Reason {
        /// TCP to an address that is not the proxy's, with no transparent listener to take it.
        TcpNotAllowed = 1, "tcp_not_allowed",
            "TCP connections may go to the proxy only.";
        /// UDP to anywhere but loopback and the DNS listener.
        UdpNotAllowed = 2, "udp_not_allowed",
            "UDP may not leave: only TCP can pass through the proxy.";
        /// Port 53, with no DNS listener to take it.
        DnsNotAllowed = 3, "dns_not_allowed",
            "DNS queries may not leave: the proxy looks names up itself.";
        /// A port of the proxy's address that is none of its listeners.
        NotAListener = 4, "not_a_listener",
            "The proxy does not listen on this port.";
        /// A socket that is neither TCP nor UDP over IP.
        SocketNotAllowed = 5, "socket_not_allowed",
            "Only plain TCP and UDP sockets may be made: no raw, ping, SCTP, UDP-Lite or MPTCP ones.";
        /// A packet that is neither TCP nor UDP.
        ProtocolNotAllowed = 6, "protocol_not_allowed",
            "Only TCP and UDP packets may leave.";
        /// A socket option that could bend a packet's way.
        SocketOption = 7, "socket_option",
            "This socket option could send packets another way and is refused.";
        /// IPv6 routing header.
        RoutingHeader = 8, "routing_header",
            "The packet has an IPv6 routing header, which would send it somewhere else first.";
        /// Any other IPv6 extension header.
        ExtensionHeader = 9, "extension_header",
            "The packet has an IPv6 extension header, which no allowed connection needs.";
        /// IPv4 options, source routes among them.
        IpOptions = 10, "ip_options",
            "The packet has IPv4 options, which could send it somewhere else first.";
        /// A fragment: what it carries cannot be judged.
        Fragment = 11, "fragment",
            "The packet is a fragment made by hand, which cannot be judged.";
        /// A packet that is too short to read or contradicts itself.
        PacketMalformed = 12, "packet_malformed",
            "The packet could not be read.";
        /// A packet whose real destination is neither loopback nor a listener of the proxy.
        PacketDestination = 13, "packet_destination",
            "The packet was about to go somewhere else than to the proxy.";
        /// A packet from outside to a socket of the workload.
        Inbound = 14, "inbound",
            "Nothing from outside may reach the workload.";
        /// A hook could not read what it judges, or could not write down where a connection goes.
        InternalError = 15, "internal_error",
            "The firewall could not decide, and so refused.";
        /// A socket of a family that no hook of the network layer sees.
        FamilyNotAllowed = 16, "family_not_allowed",
            "Sockets of this family may not be made: only IPv4, IPv6, Unix and netlink ones.";
        /// A host that no allow rule names.
        HostNotAllowed = 64, "host_not_allowed",
            "No rule allows this host.";
        /// A host that a block rule names.
        HostBlocked = 65, "host_blocked",
            "A rule blocks this host.";
        /// An allowed host, at a port that no rule allows.
        PortNotAllowed = 66, "port_not_allowed",
            "The host is allowed, but not at this port.";
        /// An allowed host and port, with another protocol than the rule's.
        SchemeNotAllowed = 67, "scheme_not_allowed",
            "The host is allowed at this port, but not with what the connection speaks.";
        /// An allowed host, with a method or a path that the rule does not have.
        RequestNotAllowed = 68, "request_not_allowed",
            "The host is allowed, but not this method or path.";
        /// An address that no rule lists.
        AddressNotAllowed = 69, "address_not_allowed",
            "Addresses are reached by name, or if a rule lists the address itself.";
        /// A name that leads to a private, loopback or link-local address.
        PrivateAddress = 70, "private_address",
            "The name leads to a private or local address, and no rule lists that network.";
        /// TLS, HTTP, DNS and CONNECT do not name the same host.
        NameMismatch = 71, "name_mismatch",
            "The connection names another host than the one that it was made to.";
        /// Encrypted ClientHello.
        EncryptedClientHello = 72, "encrypted_client_hello",
            "The TLS handshake hides the host's name (encrypted ClientHello).";
        /// A ClientHello that cannot be read.
        BadClientHello = 73, "bad_client_hello",
            "The TLS handshake cannot be read: malformed, or larger than 16 KiB.";
        /// The first bytes did not come in time.
        FirstBytesTimedOut = 74, "first_bytes_timed_out",
            "The connection did not say in time whom it is for.";
        /// An address of the synthetic pool that stands for no name.
        StaleAddress = 75, "stale_address",
            "No name was given this address: it is not from our DNS, or too old.";
        /// A record type that is not answered.
        QueryNotAnswered = 76, "query_not_answered",
            "Only addresses are looked up (A, AAAA, and PTR for what we answered).";
        /// A DNS message that is not a plain question.
        BadQuery = 77, "bad_query",
            "The DNS message is not one well-formed question.";
        /// An open connection that a new policy does not allow.
        PolicyChanged = 78, "policy_changed",
            "The policy was changed and does not allow this connection any more.";
        /// A port of the host that is not opened.
        HostPortNotAllowed = 79, "host_port_not_allowed",
            "This port of the host is not opened.";
        /// A connection that the kernel side did not write down.
        UnknownPeer = 80, "unknown_peer",
            "The connection is not one that the workload was seen to make.";
        /// An HTTP message at a door that is refused for its form.
        BadRequest = 81, "bad_request",
            "The HTTP request is malformed, ambiguous or too large.";
        /// HTTP/2 without TLS.
        Http2Plaintext = 82, "http2_plaintext",
            "HTTP/2 without TLS is not carried: its requests could not be judged one by one.";
        /// More connections than there may be.
        TooManyConnections = 83, "too_many_connections",
            "There are as many open connections as there may be.";
        /// The name or address that is allowed could not be reached.
        Unreachable = 84, "unreachable",
            "It is allowed, but could not be reached.";
        /// An exchange with the gateway that the workload did not wait for.
        WorkloadGone = 85, "workload_gone",
            "The workload closed the connection before there was an end.";
        /// What was sent holds a secret.
        SecretLeak = 95, "secret_leak",
            "What was sent holds a secret.";
    }

    /// Why the gateway refused what the workload sent.
    Refusal {
        /// The request line is not `METHOD SP target SP HTTP/1.1`.
        RequestLine = 128, "bad_request_line",
            "The request line is malformed.";
        /// A version of HTTP other than 1.1.
        Version = 129, "http_version_not_supported",
            "Only HTTP/1.1 is spoken here.";
        /// The HTTP/2 connection preface.
        Http2Preface = 130, "http2_prior_knowledge",
            "Only HTTP/1.1 is spoken here, and this begins as HTTP/2.";
        /// `Upgrade: h2c`.
        Http2Upgrade = 131, "http2_upgrade",
            "Only HTTP/1.1 is spoken here, and this asks for HTTP/2.";
        /// A line that ends in LF without CR.
        BareLineFeed = 132, "bare_line_feed",
            "Lines must end in CRLF.";
        /// A CR that no LF follows.
        BareCarriageReturn = 133, "bare_carriage_return",
            "A carriage return must be followed by a line feed.";
        /// NUL or another control character.
        ControlCharacter = 134, "control_character",
            "Control characters are not allowed in a request head.";
        /// A header line that begins with white space.
        FoldedHeader = 135, "folded_header",
            "Header lines must not be folded.";
        /// A header name that is empty, holds a separator, or is followed by white space.
        HeaderName = 136, "bad_header_name",
            "A header line has no well-formed name.";
        /// No `Host`.
        MissingHost = 137, "missing_host",
            "The Host header is missing.";
        /// More than one `Host`.
        DuplicateHost = 138, "duplicate_host",
            "There is more than one Host header.";
        /// A `Host` that is not an authority.
        BadHost = 139, "bad_host",
            "The Host header is malformed.";
        /// `Content-Length` and `Transfer-Encoding` together.
        LengthAndEncoding = 140, "length_and_transfer_encoding",
            "Content-Length and Transfer-Encoding exclude each other.";
        /// More than one `Content-Length`.
        DuplicateLength = 141, "duplicate_content_length",
            "There is more than one Content-Length.";
        /// A `Content-Length` that is not a plain number.
        BadLength = 142, "bad_content_length",
            "Content-Length must be a plain number.";
        /// A `Transfer-Encoding` other than `chunked`, once.
        BadEncoding = 143, "bad_transfer_encoding",
            "Transfer-Encoding must be chunked, once.";
        /// A chunk size line or chunk end that is not exactly as it should be.
        BadChunk = 144, "bad_chunk",
            "The chunked body is malformed.";
        /// An expectation other than `100-continue`.
        BadExpectation = 145, "bad_expectation",
            "Only 100-continue can be expected.";
        /// The head is larger than the limit.
        HeadTooLarge = 146, "head_too_large",
            "The request head is over the limit.";
        /// More header lines than the limit.
        TooManyHeaders = 147, "too_many_headers",
            "The request head has more lines than the limit.";
        /// The head did not come in time.
        HeadTimedOut = 148, "head_timed_out",
            "The request's head did not come in time.";
        /// The body stopped coming.
        BodyTimedOut = 149, "body_timed_out",
            "The request's body did not come in time.";
        /// The body is larger than the limit.
        BodyTooLarge = 150, "body_too_large",
            "The request body is over the limit.";
        /// `CONNECT`, `TRACE`, or another method than `GET` and `HEAD` on an own endpoint.
        Method = 151, "method_not_allowed",
            "This method is not served here.";
        /// The target is absolute, or starts with `//`, or is `*`.
        NotRelative = 152, "not_a_relative_path",
            "URL must be a relative path.";
        /// The target is not one that a proxy takes.
        BadTarget = 153, "bad_target",
            "The target must be http://host/path, or host:port for CONNECT, without user and password.";
        /// The path has an ambiguous spelling: bad escapes, or dot segments beside encoded slashes.
        BadPath = 154, "bad_path",
            "The path is ambiguous or malformed.";
        /// The provider's routes do not have this method and path.
        PathNotAllowed = 155, "path_not_allowed",
            "This method and path are not part of what the policy allows for this provider.";
        /// The request carries a credential that is not the placeholder.
        ForeignCredential = 156, "foreign_credential",
            "The request carries a credential of its own; send the placeholder, or none: the gateway puts the real one in.";
        /// An upgrade that is not a well-formed WebSocket handshake.
        BadUpgrade = 157, "bad_upgrade",
            "This is not a well-formed WebSocket handshake.";
        /// What comes through a WebSocket is no frame of one.
        BadFrame = 158, "bad_websocket_frame",
            "This is not a frame of a WebSocket.";
        /// A WebSocket where only plain requests are served.
        WebSocketNotCarried = 159, "websocket_not_carried",
            "No WebSocket is carried here; send a plain request.";
        /// More requests or bytes than the limit for this stretch of time.
        RateLimited = 160, "rate_limit_error",
            "A limit for this stretch of time is reached.";
        /// More requests at a time than the limit.
        TooManyAtOnce = 161, "concurrent_limit",
            "There are as many requests under way as there may be.";
        /// The run has made as many inference requests as it may.
        RunsExhausted = 162, "max_runs_exceeded",
            "This run's limit of inference requests is reached.";
        /// The run has used as many tokens as it may.
        TokensExhausted = 163, "effective_tokens_limit_exceeded",
            "This run's budget of tokens is used up.";
        /// The run has spent as much money as it may.
        DollarsExhausted = 164, "dollar_limit_exceeded",
            "This run's budget of money is used up.";
        /// The policy does not allow this model.
        ModelNotAllowed = 165, "model_policy_violation",
            "The policy does not allow this model.";
        /// A rule needs the model, and the request does not name one, once, in a way that can be read.
        ModelUnreadable = 166, "model_not_readable",
            "The request must name its model, once, in a way that can be read.";
        /// Money is limited, and the model has no known price.
        ModelNotPriced = 167, "model_not_priced",
            "Money is limited, and this model has no known price.";
        /// A secret in what was sent.
        // The doors deny it, too, by the same word.
        SecretLeak = 95, "secret_leak",
            "What was sent holds a secret.";
        /// This provider has no credential.
        NotConfigured = 168, "provider_not_configured",
            "No credential is configured for this provider.";
        /// The credential is being fetched, or could not be fetched again in time.
        CredentialNotReady = 169, "credential_not_ready",
            "The credential for this provider is being fetched; try again in a moment.";
    }

    /// How the provider, or the way to it, failed.
    UpstreamFault {
        /// The host's name has no address.
        NotResolved = 192, "upstream_not_resolved",
            "The provider's name could not be resolved.";
        /// No address accepted a connection.
        Unreachable = 193, "upstream_unreachable",
            "The provider could not be reached.";
        /// The certificate was not acceptable, or TLS failed otherwise.
        TlsFailed = 194, "upstream_tls_failed",
            "The provider's certificate could not be verified.";
        /// The upstream has none of the protocols that it was offered: a WebSocket, say, needs HTTP/1.1.
        NoProtocol = 195, "upstream_no_protocol",
            "The provider does not speak the HTTP version that this needs.";
        /// There is no trusted root to verify with.
        NoRoots = 196, "upstream_no_roots",
            "There is no trusted root to verify the provider with.";
        /// The connection broke before the answer's head was there.
        Reset = 197, "upstream_reset",
            "The provider closed the connection without an answer.";
        /// Name, TCP and TLS took too long.
        ConnectTimedOut = 198, "upstream_connect_timed_out",
            "The connection to the provider took too long.";
        /// No answer in time.
        FirstByteTimedOut = 199, "upstream_first_byte_timed_out",
            "The provider did not answer in time.";
        /// The answer's body stopped coming.
        IdleTimedOut = 200, "upstream_idle_timed_out",
            "The provider stopped answering.";
        /// The whole exchange took too long.
        TotalTimedOut = 201, "upstream_total_timed_out",
            "The exchange with the provider took too long.";
        /// The answer broke off in the middle.
        BodyBroken = 202, "upstream_body_broken",
            "The provider's answer broke off.";
        /// 101 without the right `Sec-WebSocket-Accept`.
        BadHandshake = 203, "upstream_bad_handshake",
            "The provider's WebSocket handshake is not valid.";
        /// The answer repeats the credential inside a coding, where it cannot be covered.
        CredentialRepeated = 204, "upstream_credential_repeated",
            "The provider's answer repeats the credential.";
    }

    /// What a host lacks without which no run starts, unless it is allowed by this name (`--allow-degraded`).
    Lack {
        /// Landlock for files.
        Landlock = 224, "landlock",
            "The kernel cannot judge writing to files a second time (Landlock).";
        /// Landlock for signals and abstract sockets.
        LandlockScope = 225, "landlock-scope",
            "The kernel cannot judge signals and abstract sockets a second time (Landlock's scopes).";
        /// seccomp's user notification.
        SeccompNotify = 226, "seccomp-notify",
            "Refused sockets could not be written down (seccomp's user notification).";
        /// Controllers of cgroups.
        CgroupLimits = 227, "cgroup-limits",
            "The command could not be limited (cgroup controllers).";
    }
}
