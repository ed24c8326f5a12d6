/// What the process ends with: the numbers of sysexits.h, which service managers know by name.
public enum ExitStatus: Int32, Sendable {
    /// Ended as asked.
    case success = 0
    /// EX_USAGE: the command line is wrong.
    case usage = 64
    /// EX_UNAVAILABLE: the device does not start.
    case unavailable = 69
    /// EX_SOFTWARE: a mistake of ours.
    case software = 70
    /// EX_OSERR: the system refused something.
    case systemError = 71
    /// EX_CANTCREAT: the socket's path is taken or unusable.
    case cannotCreate = 73
    /// EX_TEMPFAIL: another daemon serves the socket.
    case temporaryFailure = 75
    /// EX_CONFIG: the configuration is wrong.
    case configuration = 78
}
