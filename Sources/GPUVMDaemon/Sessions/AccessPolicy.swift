import Glibc
import WireProtocol

/// Who may be a client, and who may do more: `access` of the configuration, in numbers.
struct AccessPolicy: Sendable, Equatable {
    /// What a peer may do.
    enum Standing: Sendable {
        /// Nothing.
        case refused
        /// Be a client.
        case admitted
        /// See other clients, use high priority and inject faults, too.
        case privileged
    }

    /// Whether the lists below decide; else everybody is admitted.
    private let isRestricted: Bool
    private let users: Set<UInt32>
    private let groups: Set<UInt32>
    private let privilegedUsers: Set<UInt32>
    private let privilegedGroups: Set<UInt32>
    private let ownUser: UInt32

    /// The policy of a configuration.
    ///
    /// A name that the system has forgotten since the configuration was read admits nobody.
    ///
    /// - Parameter ownUser: The daemon's, who is privileged as root is.
    init(_ access: DaemonConfiguration.Access, ownUser: UInt32 = geteuid()) {
        isRestricted = !(access.users + access.groups).allSatisfy { $0 == " " }
        users = PrincipalList.numbers(access.users, .user) ?? []
        groups = PrincipalList.numbers(access.groups, .group) ?? []
        privilegedUsers = PrincipalList.numbers(access.privilegedUsers, .user) ?? []
        privilegedGroups = PrincipalList.numbers(access.privilegedGroups, .group) ?? []
        self.ownUser = ownUser
    }

    /// What a peer may do.
    ///
    /// - Parameter supplementaryGroups: Asked only if a list of groups can decide; groups that cannot
    ///   be had are none.
    func standing(
        of peer: UnixSocket.Credentials,
        supplementaryGroups: () throws(WireError) -> [UInt32]
    ) -> Standing {
        if peer.uid == 0 || peer.uid == ownUser || privilegedUsers.contains(peer.uid) {
            return .privileged
        }
        var belongsTo: Set<UInt32> = [peer.gid]
        if !(privilegedGroups.isEmpty && groups.isEmpty) {
            do throws(WireError) { belongsTo.formUnion(try supplementaryGroups()) } catch {}
        }
        if !privilegedGroups.isDisjoint(with: belongsTo) { return .privileged }
        guard isRestricted else { return .admitted }
        return users.contains(peer.uid) || !groups.isDisjoint(with: belongsTo)
            ? .admitted : .refused
    }
}
