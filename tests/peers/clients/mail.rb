# Ruby's clients: mail.rb imap|pop3|smtp none|starttls|implicit PORT CA LOGIN PASSWORD FILE
# IMAP and POP3 write the first message to FILE; SMTP sends FILE.
require 'net/imap'
require 'net/pop'
require 'net/smtp'

protocol, mode, port, ca, login, password, file = ARGV
tls = { ca_file: ca, verify_mode: OpenSSL::SSL::VERIFY_PEER }
case protocol
when 'imap'
  imap = Net::IMAP.new('localhost', port: port, ssl: mode == 'implicit' && tls)
  imap.starttls(tls) if mode == 'starttls'
  # The same account by the two ways that the library has.
  mode == 'none' ? imap.login(login, password) : imap.authenticate('PLAIN', login, password)
  imap.select('INBOX')
  File.binwrite(file, imap.fetch(1, 'BODY[]').first.attr['BODY[]'])
  imap.logout
when 'pop3'
  pop3 = Net::POP3.new('localhost', port.to_i)
  pop3.enable_ssl(tls) if mode == 'implicit'
  pop3.start(login, password) { File.binwrite(file, pop3.mails.first.pop) }
when 'smtp'
  smtp = Net::SMTP.new('localhost', port.to_i, tls: mode == 'implicit', starttls: mode == 'starttls' && :always,
                                               ssl_context_params: tls)
  authentication = mode == 'none' ? :login : :plain
  smtp.start(helo: 'ruby.test', user: login, secret: password, authtype: authentication) do
    smtp.send_message(File.binread(file), login, 'ruby@peers.test')
  end
end
