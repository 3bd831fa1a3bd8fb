#Requires -Version 7.0
#Requires -Modules Microsoft.Graph.Authentication, Microsoft.Graph.Applications, Microsoft.Graph.Identity.SignIns, Microsoft.Graph.Users, ExchangeOnlineManagement

# Written by `authrelay entra LOGIN --script`. It could not be run against a tenant when it was written: read it first.
# It may be run again at any time: what is there already stays. Whoever runs it needs the roles Cloud Application
# Administrator (or Application Administrator), Privileged Role Administrator for admin consent, and Exchange Administrator.
[CmdletBinding()]
param(
    # Do not ask.
    [switch] $Yes,
    # Mailboxes to set up besides, where a login of proxy.yaml is a pattern.
    [string[]] $Mailbox = @(),
    # Of the tokens of a federated credential: claims iss and sub.
    [string] $Issuer = '',
    [string] $Subject = ''
)

Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'

# ----- From proxy.yaml -----

# (values)

# What a person copies into PowerShell: in quotes where PowerShell would interpret it.
function Format-Argument([string] $Text) {
    if ($Text -match '^[A-Za-z0-9][A-Za-z0-9._@+=-]*$') { return $Text }
    return "'" + ($Text -replace "['\u2018-\u201b]", '$0$0') + "'"
}

# ----- What has to be so -----

$scripted = @($accounts) + @($Mailbox | ForEach-Object { @{ Login = $_; Mailbox = $_; Protocols = $patternProtocols } })
if (-not $scripted) {
    throw "proxy.yaml has patterns only ($($patterns -join ', ')): name the mailboxes with -Mailbox a@contoso.com, b@contoso.com"
}
$sending = @($scripted | Where-Object { $_.Protocols -contains 'smtp' } | ForEach-Object { $_.Mailbox } | Sort-Object -Unique)
$reading = @($scripted | Where-Object { $_.Protocols -contains 'imap' -or $_.Protocols -contains 'pop' } | ForEach-Object { $_.Mailbox } | Sort-Object -Unique)
$people = @($scripted | ForEach-Object { $_.Login } | Sort-Object -Unique)
# Mailboxes that a person opens who does not own them.
$shared = @($scripted | Where-Object { $_.Login -ne $_.Mailbox })

# ----- What will be done, and one question -----

Write-Host 'This will, where it is not done already:'
if ($kind -eq 'managed') {
    Write-Host '  - use the managed identity as it is'
} else {
    $what = if ($clientId) { "take the application $clientId, or register '$displayName'" } else { "register '$displayName'" }
    Write-Host "  - $what, for this organization only, with a service principal"
}
if ($redirectUri) { Write-Host "  - add the redirect URI $redirectUri ($redirectPlatform)" }
if ($publicClient) { Write-Host '  - allow public client flows: the application has no secret' }
switch ($credential) {
    'secret' { Write-Host '  - make a client secret for it, good for a year, and show it once' }
    'certificate' { Write-Host '  - upload the certificate that proxy.yaml names (its key stays where it is)' }
    'federated' { Write-Host '  - trust tokens of -Issuer with the subject -Subject' }
}
foreach ($permission in $permissions) {
    if ($kind -eq 'delegated') {
        Write-Host "  - consent, as an administrator, to $permission for $($people -join ', ') and no one else"
    } else {
        Write-Host "  - grant the application permission $permission of Exchange Online, with admin consent"
    }
}
if ($kind -ne 'delegated' -and -not $highVolume) { Write-Host '  - make the application known to Exchange (New-ServicePrincipal)' }
if ($highVolume) {
    foreach ($mailboxName in $sending) { Write-Host "  - let it use the High Volume Email account $mailboxName" }
} elseif ($kind -eq 'delegated') {
    foreach ($account in $shared) { Write-Host "  - give $($account.Login) FullAccess to $($account.Mailbox), and SendAs where it sends" }
} else {
    foreach ($mailboxName in $reading) { Write-Host "  - give the application FullAccess to $mailboxName" }
    if ($sending) { Write-Host "  - let it send as $($sending -join ', ') and no other mailbox (role Application SMTP.SendAsApp)" }
}
if (-not $highVolume) { Write-Host '  - turn on IMAP, POP and authenticated SMTP at these mailboxes, as far as they are used' }
foreach ($pattern in $patterns) { Write-Host "Of the login $pattern only the mailboxes given with -Mailbox are set up." }
if (-not $Yes) {
    $answer = Read-Host 'Go on? (yes/no)'
    if ($answer -ne 'yes') {
        Write-Host 'Nothing was changed.'
        exit 1
    }
}

# ----- Entra -----

$graph = @{ Scopes = @('Application.ReadWrite.All'); Environment = $graphEnvironment; NoWelcome = $true }
if ($tenant) { $graph.TenantId = $tenant }
if ($kind -eq 'delegated') {
    $graph.Scopes += 'DelegatedPermissionGrant.ReadWrite.All', 'User.Read.All'
} else {
    $graph.Scopes += 'AppRoleAssignment.ReadWrite.All'
}
Connect-MgGraph @graph

$application = $null
$quotedId = $clientId.Replace("'", "''")
if ($kind -ne 'managed') {
    if ($clientId) {
        $application = Get-MgApplication -Filter "appId eq '$quotedId'"
        if (-not $application) { Write-Warning "This tenant has no application ${clientId}: '$displayName' is used, see its client_id below." }
    }
    if (-not $application) {
        $quotedName = $displayName.Replace("'", "''")
        $found = @(Get-MgApplication -Filter "displayName eq '$quotedName'")
        if ($found.Count -gt 1) { throw "There are $($found.Count) applications '$displayName': write the client_id of the right one into proxy.yaml." }
        if ($found) {
            $application = $found[0]
        } else {
            $application = New-MgApplication -DisplayName $displayName -SignInAudience 'AzureADMyOrg'
        }
    }
    $clientId = $application.AppId
    $quotedId = $clientId
}
if (-not $clientId) { throw 'Write the client_id of the managed identity into proxy.yaml.' }
$principal = Get-MgServicePrincipal -Filter "appId eq '$quotedId'"
if (-not $principal) {
    if ($kind -eq 'managed') { throw "This tenant has no managed identity $clientId." }
    $principal = New-MgServicePrincipal -AppId $clientId
}

if ($redirectUri) {
    if ($redirectPlatform -eq 'Web') {
        $uris = @($application.Web | Where-Object { $_ } | ForEach-Object { $_.RedirectUris })
        if ($uris -notcontains $redirectUri) {
            Update-MgApplication -ApplicationId $application.Id -Web @{ RedirectUris = @($uris + $redirectUri | Where-Object { $_ }) }
        }
    } else {
        $uris = @($application.PublicClient | Where-Object { $_ } | ForEach-Object { $_.RedirectUris })
        if ($uris -notcontains $redirectUri) {
            Update-MgApplication -ApplicationId $application.Id -PublicClient @{ RedirectUris = @($uris + $redirectUri | Where-Object { $_ }) }
        }
    }
}
if ($publicClient -and -not $application.IsFallbackPublicClient) {
    Update-MgApplication -ApplicationId $application.Id -IsFallbackPublicClient:$true
}

# Tokens are for Exchange Online; the portal lists delegated permissions of the same names under Microsoft Graph.
$exchange = Get-MgServicePrincipal -Filter "appId eq '00000002-0000-0ff1-ce00-000000000000'"
if (-not $exchange) { throw 'This tenant has no Exchange Online.' }
if ($kind -eq 'delegated') {
    $resources = @($exchange) + @(Get-MgServicePrincipal -Filter "appId eq '00000003-0000-0000-c000-000000000000'")
    $grants = @(Get-MgServicePrincipalOauth2PermissionGrant -ServicePrincipalId $principal.Id -All)
    foreach ($person in $people) {
        $user = Get-MgUser -UserId $person
        foreach ($resource in $resources) {
            $offered = @($resource.Oauth2PermissionScopes | ForEach-Object { $_.Value })
            $wanted = @($permissions + 'offline_access' | Where-Object { $offered -contains $_ })
            if (-not $wanted) { continue }
            $grant = $grants | Where-Object { $_.ResourceId -eq $resource.Id -and $_.PrincipalId -eq $user.Id } | Select-Object -First 1
            if (-not $grant) {
                $null = New-MgOauth2PermissionGrant -ClientId $principal.Id -ConsentType 'Principal' -PrincipalId $user.Id -ResourceId $resource.Id -Scope ($wanted -join ' ')
                continue
            }
            $given = @($grant.Scope -split ' ' | Where-Object { $_ })
            $missing = @($wanted | Where-Object { $given -notcontains $_ })
            if ($missing) {
                $change = @{ OAuth2PermissionGrantId = $grant.Id; Scope = @($given + $missing) -join ' ' }
                Update-MgOauth2PermissionGrant @change
            }
        }
    }
} else {
    $granted = @(Get-MgServicePrincipalAppRoleAssignment -ServicePrincipalId $principal.Id -All)
    foreach ($permission in $permissions) {
        $role = $exchange.AppRoles | Where-Object { $_.Value -eq $permission -and $_.AllowedMemberTypes -contains 'Application' } | Select-Object -First 1
        if (-not $role) { throw "Exchange Online has no application permission $permission" }
        if ($granted | Where-Object { $_.AppRoleId -eq $role.Id -and $_.ResourceId -eq $exchange.Id }) { continue }
        $null = New-MgServicePrincipalAppRoleAssignment -ServicePrincipalId $principal.Id -PrincipalId $principal.Id -ResourceId $exchange.Id -AppRoleId $role.Id
    }
}

$secret = $null
switch ($credential) {
    'secret' {
        $valid = @($application.PasswordCredentials | Where-Object { $_.EndDateTime -gt (Get-Date).AddDays(30) })
        if (-not $valid) {
            $wish = @{ DisplayName = 'authrelay'; EndDateTime = (Get-Date).AddYears(1) }
            $secret = Add-MgApplicationPassword -ApplicationId $application.Id -PasswordCredential $wish
        }
    }
    'certificate' {
        $octets = [Convert]::FromBase64String($certificate)
        $thumbprint = [Convert]::ToHexString([Security.Cryptography.SHA1]::HashData($octets))
        $keys = @($application.KeyCredentials | Where-Object { $_ })
        $known = @($keys | Where-Object { $_.CustomKeyIdentifier -and [Convert]::ToHexString($_.CustomKeyIdentifier) -eq $thumbprint })
        if (-not $known) {
            $new = @{ Type = 'AsymmetricX509Cert'; Usage = 'Verify'; Key = $octets; DisplayName = 'authrelay' }
            Update-MgApplication -ApplicationId $application.Id -KeyCredentials (@($keys) + $new)
        }
    }
    'federated' {
        if ($Issuer -and $Subject) {
            $trusted = @(Get-MgApplicationFederatedIdentityCredential -ApplicationId $application.Id -All)
            if (-not ($trusted | Where-Object { $_.Issuer -eq $Issuer -and $_.Subject -eq $Subject })) {
                $null = New-MgApplicationFederatedIdentityCredential -ApplicationId $application.Id -Name 'authrelay' -Issuer $Issuer -Subject $Subject -Audiences @('api://AzureADTokenExchange')
            }
        } else {
            Write-Warning "No federated credential was added: run again with -Issuer and -Subject, which stand in the token (claims iss and sub)."
        }
    }
}

# ----- Exchange -----

Connect-ExchangeOnline -ExchangeEnvironmentName $exchangeEnvironment -ShowBanner:$false

function Grant-FullAccess([string] $Identity, [string] $User) {
    $is = @(Get-MailboxPermission -Identity $Identity -User $User -ErrorAction SilentlyContinue)
    if ($is | Where-Object { $_.AccessRights -match 'FullAccess' -and -not $_.Deny }) { return }
    $null = Add-MailboxPermission -Identity $Identity -User $User -AccessRights FullAccess -AutoMapping $false
}

if ($highVolume) {
    foreach ($mailboxName in $sending) {
        # There is no command that lists them; adding one again is refused, which is as good.
        Add-HVEAppAccess -Identity $mailboxName -AppIds $principal.Id -ErrorAction Continue
    }
} elseif ($kind -eq 'delegated') {
    foreach ($account in $shared) {
        Grant-FullAccess -Identity $account.Mailbox -User $account.Login
        if ($account.Protocols -contains 'smtp') {
            $is = @(Get-RecipientPermission -Identity $account.Mailbox -Trustee $account.Login -ErrorAction SilentlyContinue)
            if (-not ($is | Where-Object { $_.AccessRights -match 'SendAs' })) {
                $null = Add-RecipientPermission -Identity $account.Mailbox -Trustee $account.Login -AccessRights SendAs -Confirm:$false
            }
        }
    }
} else {
    if (-not (Get-ServicePrincipal | Where-Object { $_.AppId -eq $clientId })) {
        $null = New-ServicePrincipal -AppId $clientId -ObjectId $principal.Id -DisplayName $displayName
    }
    foreach ($mailboxName in $reading) { Grant-FullAccess -Identity $mailboxName -User $principal.Id }
    if ($sending) {
        $scope = "authrelay $clientId"
        $names = @($sending | ForEach-Object { (Get-Recipient -Identity $_).DistinguishedName.Replace("'", "''") })
        $filter = @($names | ForEach-Object { "DistinguishedName -eq '$_'" }) -join ' -or '
        if (Get-ManagementScope | Where-Object { $_.Name -eq $scope }) {
            Set-ManagementScope -Identity $scope -RecipientRestrictionFilter $filter
        } else {
            $null = New-ManagementScope -Name $scope -RecipientRestrictionFilter $filter
        }
        $assigned = Get-ManagementRoleAssignment -Role 'Application SMTP.SendAsApp' | Where-Object { $_.CustomResourceScope -eq $scope }
        if (-not $assigned) {
            $null = New-ManagementRoleAssignment -Role 'Application SMTP.SendAsApp' -App $principal.Id -CustomResourceScope $scope
        }
    }
}
if (-not $highVolume) {
    foreach ($account in $scripted) {
        $switches = @{ Identity = $account.Mailbox }
        if ($account.Protocols -contains 'imap') { $switches.ImapEnabled = $true }
        if ($account.Protocols -contains 'pop') { $switches.PopEnabled = $true }
        if ($account.Protocols -contains 'smtp') { $switches.SmtpClientAuthenticationDisabled = $false }
        Set-CASMailbox @switches
    }
}

# ----- What proxy.yaml lacks -----

Write-Host ''
Write-Host 'proxy.yaml, in this registration:'
$organization = (Get-MgContext).TenantId
Write-Host "    tenant: $organization"
Write-Host "    client_id: $clientId"
if ($secret) {
    Write-Host "    client_secret_expires: $($secret.EndDateTime.ToString('yyyy-MM-dd'))"
    Write-Host 'The client secret, which is shown this once; put it where client_secret says:'
    Write-Host $secret.SecretText
}
Write-Host 'New permissions can take up to two hours to take effect. Then:'
foreach ($person in $people) {
    $login = Format-Argument -Text $person
    if ($consent) { Write-Host "    authrelay authorize $login" }
    Write-Host "    authrelay doctor $login"
}
if ($passwordGrant) { Write-Host 'The grant password knows no second factor: exclude these people from policies that ask for one.' }
