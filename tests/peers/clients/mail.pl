#!/usr/bin/perl
# Perl's clients: mail.pl imap|pop3|smtp none|starttls|implicit PORT CA LOGIN PASSWORD FILE
# IMAP and POP3 write the first message to FILE; SMTP sends FILE.
use strict;
use warnings;
use IO::Socket::SSL;
use Mail::IMAPClient;
use Net::POP3;
use Net::SMTP;

my ($protocol, $mode, $port, $ca, $login, $password, $file) = @ARGV;
my %tls = (SSL_ca_file => $ca, SSL_verify_mode => SSL_VERIFY_PEER, SSL_verifycn_name => 'localhost');

sub save { open my $out, '>:raw', $file or die $!; print $out @_; close $out or die $! }

if ($protocol eq 'imap') {
    my $imap = Mail::IMAPClient->new(
        Server => 'localhost', Port => $port, User => $login, Password => $password, Uid => 1,
        $mode eq 'implicit' ? (Ssl => [%tls]) : (),
        $mode eq 'starttls' ? (Starttls => [%tls]) : (),
    ) or die "login: $@";
    $imap->select('INBOX') or die $imap->LastError;
    my $messages = $imap->messages or die $imap->LastError;
    save($imap->message_string($messages->[0]));
    $imap->logout or die $imap->LastError;
} elsif ($protocol eq 'pop3') {
    my $pop3 = Net::POP3->new('localhost', Port => $port, $mode eq 'implicit' ? (SSL => 1, %tls) : ()) or die $@;
    $pop3->starttls(%tls) or die $pop3->message if $mode eq 'starttls';
    defined $pop3->login($login, $password) or die 'login: ', $pop3->message;
    save(@{$pop3->get(1) or die $pop3->message});
    $pop3->quit or die $pop3->message;
} else {
    my $smtp = Net::SMTP->new('localhost', Port => $port, $mode eq 'implicit' ? (SSL => 1, %tls) : ()) or die $@;
    $smtp->starttls(%tls) or die $smtp->message if $mode eq 'starttls';
    $smtp->auth($login, $password) or die 'login: ', $smtp->message;
    $smtp->mail($login) && $smtp->to('perl@peers.test') && $smtp->data or die $smtp->message;
    open my $in, '<:raw', $file or die $!;
    while (<$in>) { s/\r\n\z/\n/; $smtp->datasend($_) or die $smtp->message }
    $smtp->dataend or die $smtp->message;
    $smtp->quit or die $smtp->message;
}
