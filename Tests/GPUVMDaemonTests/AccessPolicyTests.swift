import Testing

@testable import GPUVMDaemon
@testable import WireProtocol

/// Who is let in, and as what.
@Suite struct AccessPolicyTests {
    @Test(
        arguments: [
            ("", []), ("  ", []), ("0", [0]), ("root", [0]), ("root, 7 ,007", [0, 7]),
            ("4294967294", [4_294_967_294]),
        ] as [(String, Set<UInt32>)])
    func listsAreNamesAndNumbers(_ text: String, _ numbers: Set<UInt32>) {
        // Every system has a user and a group root, with the number 0.
        #expect(PrincipalList.numbers(text, .user) == numbers)
        #expect(PrincipalList.numbers(text, .group) == numbers)
    }

    @Test(arguments: [
        "no-such-name-here", ",", "root,", ",root", "root,,0", "-1", "4294967295", "4294967296",
        "root 0", "ro\u{0}ot",
    ])
    func whatIsNoListIsRefused(_ text: String) {
        #expect(PrincipalList.numbers(text, .user) == nil)
        #expect(PrincipalList.numbers(text, .group) == nil)
    }

    @Test func aBadListIsAnErrorOfItsKey() throws {
        do throws(ConfigurationError) {
            _ = try ConfigurationLoader.parse(
                "access:\n  groups: \"no-such-name-here\"\n", name: "test.yaml")
            Issue.record("accepted")
        } catch {
            #expect(
                "\(error)".contains(
                    """
                    test.yaml:2:11: access.groups: "no-such-name-here" is not allowed; expected \
                    names or numbers of groups, separated by commas
                    """), "\(error)")
        }
    }

    private struct Case: Sendable {
        var users = ""
        var groups = ""
        var privilegedUsers = ""
        var privilegedGroups = ""
        var uid: UInt32 = 1000
        var gid: UInt32 = 100
        var others: [UInt32] = []
        let standing: AccessPolicy.Standing
    }

    private static let cases: [Case] = [
        // No list lets everybody in, and nobody further.
        Case(standing: .admitted),
        Case(uid: 0, standing: .privileged),
        Case(uid: 500, standing: .privileged),
        // A list of either kind shuts out who is on none.
        Case(users: "1001", standing: .refused),
        Case(groups: "101", standing: .refused),
        Case(users: "1001,1000", standing: .admitted),
        Case(users: "1001", groups: "100", standing: .admitted),
        Case(users: "1001", groups: "44, 45", others: [7, 45], standing: .admitted),
        Case(groups: "44", others: [7, 45], standing: .refused),
        Case(users: "1001", uid: 0, standing: .privileged),
        Case(groups: "1", uid: 500, standing: .privileged),
        // A user's number is no group's.
        Case(groups: "1000", standing: .refused),
        Case(users: "100", standing: .refused),
        // Privileges let in.
        Case(users: "1001", privilegedUsers: "1000", standing: .privileged),
        Case(users: "1000", privilegedUsers: "1001", standing: .admitted),
        Case(users: "1001", privilegedGroups: "100", standing: .privileged),
        Case(privilegedGroups: "45", others: [45], standing: .privileged),
        Case(privilegedGroups: "46", others: [45], standing: .admitted),
        // The lists of groups alone shut nobody out, if they are about privileges.
        Case(privilegedUsers: "1", privilegedGroups: "1", standing: .admitted),
    ]

    @Test(arguments: cases.indices)
    func standings(_ index: Int) {
        let example = Self.cases[index]
        var access = DaemonConfiguration.Access()
        access.users = example.users
        access.groups = example.groups
        access.privilegedUsers = example.privilegedUsers
        access.privilegedGroups = example.privilegedGroups
        let policy = AccessPolicy(access, ownUser: 500)
        let peer = UnixSocket.Credentials(pid: 1, uid: example.uid, gid: example.gid)
        #expect(
            policy.standing(of: peer) { () throws(WireError) in example.others }
                == example.standing, "\(example)")
        // Groups that cannot be had are none.
        let without = policy.standing(of: peer) { () throws(WireError) in
            throw .invalid("no groups")
        }
        var alone = example
        alone.others = []
        #expect(
            without == policy.standing(of: peer) { () throws(WireError) in alone.others },
            "\(example)")
    }

    @Test func aNameThatIsForgottenLetsNobodyIn() {
        var access = DaemonConfiguration.Access()
        access.users = "no-such-name-here"
        let policy = AccessPolicy(access, ownUser: 500)
        let peer = UnixSocket.Credentials(pid: 1, uid: 1000, gid: 100)
        #expect(policy.standing(of: peer) { () throws(WireError) in [] } == .refused)
    }
}
